//! Voice activity by a Silero model (version 5 or 6, ONNX) that the user supplies; no weights come
//! with this crate.
//!
//! The model takes 512 samples after 64 of context, a state of 2 x 1 x 128 numbers and the sample
//! rate, and answers a probability and the next state; see `utils_vad.py` of the model's authors.

use std::{fmt, path::Path, sync::Arc};

use rten::{Model, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::{NdTensor, prelude::*};

use super::Vad;

const WINDOW: usize = 512;
const CONTEXT: usize = 64;
const STATE: [usize; 3] = [2, 1, 128];
const RATE: i32 = 16_000;

/// Scores speech by the user's model, 32 ms at a time.
pub struct Silero {
    model: Model,
    /// One thread: the model is small, and a voice session must not take every core.
    threads: Arc<ThreadPool>,
    inputs: [NodeId; 3],
    outputs: [NodeId; 2],
    samples: [f32; CONTEXT + WINDOW],
    state: NdTensor<f32, 3>,
}

/// The file is not a Silero model that this detector can run.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not a Silero VAD model of version 5 or 6 in ONNX: {reason}")]
pub struct LoadError {
    path: String,
    reason: String,
}

impl Silero {
    /// Loads the model and scores one window of silence with it, so that a file of another kind is
    /// refused here and not in a conversation.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let refuse = |reason: String| LoadError { path: path.display().to_string(), reason };
        let model = Model::load_file(path).map_err(|error| refuse(error.to_string()))?;
        let node = |name: &str| model.node_id(name).map_err(|error| refuse(error.to_string()));
        let inputs = [node("input")?, node("state")?, node("sr")?];
        let outputs = [node("output")?, node("stateN")?];
        let threads = Arc::new(ThreadPool::with_num_threads(1));
        let samples = [0.0; CONTEXT + WINDOW];
        let mut silero = Self { model, threads, inputs, outputs, samples, state: NdTensor::zeros(STATE) };
        silero.run().map_err(refuse)?;
        silero.reset();
        Ok(silero)
    }

    fn run(&mut self) -> Result<f32, String> {
        let samples = NdTensor::from_data([1, CONTEXT + WINDOW], self.samples.to_vec());
        let rate = Value::from(RATE);
        let inputs = vec![
            (self.inputs[0], samples.view().into()),
            (self.inputs[1], self.state.view().into()),
            (self.inputs[2], rate.into()),
        ];
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        let [score, state] =
            self.model.run_n(inputs, self.outputs, Some(options)).map_err(|error| error.to_string())?;
        self.state = state.try_into().map_err(|_| "the state has another shape".to_owned())?;
        let score: NdTensor<f32, 2> =
            score.try_into().map_err(|_| "the output has another shape".to_owned())?;
        score.iter().next().copied().ok_or_else(|| "the output is empty".to_owned())
    }
}

impl Vad for Silero {
    fn window(&self) -> usize {
        WINDOW
    }

    fn score(&mut self, samples: &[i16]) -> f32 {
        self.samples.copy_within(WINDOW.., 0);
        for (to, from) in self.samples[CONTEXT..].iter_mut().zip(samples) {
            *to = f32::from(*from) / 32_768.0;
        }
        // The same model with the same shapes ran when it was loaded.
        self.run().unwrap_or_else(|reason| {
            tracing::error!(reason, "the voice activity model failed");
            0.0
        })
    }

    fn reset(&mut self) {
        self.samples.fill(0.0);
        self.state = NdTensor::zeros(STATE);
    }
}

impl fmt::Debug for Silero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Silero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_file_of_another_kind_are_refused_by_name() {
        let missing = Silero::load("/nonexistent/silero_vad.onnx").unwrap_err().to_string();
        assert!(missing.starts_with("/nonexistent/silero_vad.onnx is not a Silero VAD model"), "{missing}");
        let file = std::env::temp_dir().join(format!("livos-not-a-model-{}.onnx", std::process::id()));
        std::fs::write(&file, b"not a model").unwrap();
        assert!(Silero::load(&file).is_err());
        std::fs::remove_file(file).unwrap();
    }
}
