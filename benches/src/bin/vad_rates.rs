//! How often the detectors miss speech and hear it where there is none: real speech mixed with
//! noise at several levels.
//!
//! Speech is made at run time by two public voices (flite, espeak-ng), noise by sox; babble is
//! several voices at once. Truth is the energy of the clean speech: a window is speech when it is
//! within 30 dB of the loudest, silence when it is more than 60 dB below it and no speech is within
//! 150 ms; what lies between counts for neither. A miss is a window of speech in which the
//! detector's state was quiet, a false alarm a window of silence in which it was not.
//! `--silero FILE` adds a model that you supply.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used)]

use std::{path::Path, process::Command, time::Instant};

use bytes::Bytes;
use clap::Parser;
use livos_voice::{
    audio::{AudioFormat, Frame},
    vad::{Detector, DetectorConfig, Earshot, Energy, Silero, Vad, VadState},
};

#[derive(Parser)]
struct Args {
    /// A Silero VAD model, version 5 or 6, in ONNX.
    #[arg(long)]
    silero: Option<std::path::PathBuf>,
    /// `cargo bench` passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

const SENTENCES: [&str; 6] = [
    "turn on the kitchen light please",
    "what will the weather be like tomorrow morning",
    "please tell me a long story about the sea",
    "remind me to call my sister at half past seven",
    "no, I meant the other one",
    "how much is twenty three times four",
];
const RATE: usize = 16_000;
/// Truth is decided in windows of 10 ms.
const WINDOW: usize = 160;
const LEVELS: [Option<f64>; 5] = [None, Some(20.0), Some(10.0), Some(5.0), Some(0.0)];
/// A detector needs this long to be sure, and holds speech this long after it; what it says about
/// these moments is counted for neither.
const MARGIN_BEFORE: usize = 12;
const MARGIN_AFTER: usize = 35;

fn main() {
    let args = Args::parse();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let speech = speech(folder.path());
    let truth = truth(&speech);
    let (voiced, silent) = truth.iter().fold((0, 0), |(v, s), t| {
        (v + usize::from(*t == Truth::Speech), s + usize::from(*t == Truth::Silence))
    });
    println!(
        "{:.0} s of audio: {:.1} s counted as speech, {:.1} s as silence",
        speech.len() as f64 / RATE as f64,
        voiced as f64 / 100.0,
        silent as f64 / 100.0
    );
    println!("miss / false alarm, in percent of windows\n");
    let noises = [
        ("white", noise(folder.path(), "whitenoise", speech.len())),
        ("pink", noise(folder.path(), "pinknoise", speech.len())),
        ("babble", babble(folder.path(), speech.len())),
    ];
    type Make = Box<dyn Fn() -> Box<dyn Vad>>;
    let mut detectors: Vec<(&str, Make)> = vec![
        ("earshot", Box::new(|| Box::new(Earshot::default()))),
        ("energy", Box::new(|| Box::new(Energy::default()))),
    ];
    if let Some(file) = args.silero {
        detectors.push(("silero", Box::new(move || Box::new(Silero::load(&file).expect("a Silero model")))));
    }
    println!(
        "| detector | noise  |{}\n|---|---|{}",
        LEVELS
            .map(|level| format!(" {:>13} |", level.map_or("clean".into(), |db| format!("{db} dB SNR"))))
            .concat(),
        "---:|".repeat(LEVELS.len())
    );
    for (name, make) in &detectors {
        let mut spent = 0.0;
        let mut heard = 0usize;
        for (kind, noise) in &noises {
            let cells = LEVELS.map(|level| {
                let mixed = level.map_or_else(|| speech.clone(), |db| mix(&speech, noise, &truth, db));
                let start = Instant::now();
                let states = states(make(), &mixed);
                spent += start.elapsed().as_secs_f64();
                heard += mixed.len();
                let (miss, alarm) = rates(&truth, &states);
                format!(" {miss:>5.1} / {alarm:>5.1} |")
            });
            println!("| {name:<8} | {kind:<6} |{}", cells.concat());
        }
        println!(
            "| {name:<8} | {:.2} ms of one core for a second of audio |",
            spent * 1000.0 / (heard as f64 / RATE as f64)
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Truth {
    Speech,
    Silence,
    Between,
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).stderr(std::process::Stdio::null()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{program} is needed: apt-get install flite espeak-ng sox"
    );
}

/// A WAV file as 16 kHz samples.
fn samples(folder: &Path, wav: &str) -> Vec<f64> {
    let (from, to) = (folder.join(wav), folder.join("out.raw"));
    run(
        "sox",
        &[
            from.to_str().unwrap(),
            "-r",
            "16000",
            "-c",
            "1",
            "-b",
            "16",
            "-e",
            "signed-integer",
            "-t",
            "raw",
            to.to_str().unwrap(),
        ],
    );
    let bytes = std::fs::read(to).expect("sox wrote a file");
    bytes.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect()
}

fn say(folder: &Path, voice: usize, sentence: &str) -> Vec<f64> {
    let wav = folder.join("say.wav");
    let path = wav.to_str().unwrap();
    match voice {
        0 => run("flite", &["-voice", "slt", "-t", sentence, "-o", path]),
        1 => run("espeak-ng", &["-v", "en-us", "-s", "150", "-w", path, sentence]),
        2 => run("flite", &["-voice", "rms", "-t", sentence, "-o", path]),
        _ => run("espeak-ng", &["-v", "en-gb", "-p", "30", "-w", path, sentence]),
    }
    samples(folder, "say.wav")
}

/// Sentences by both voices at the same loudness, with two seconds of silence between.
fn speech(folder: &Path) -> Vec<f64> {
    let mut all = vec![0.0; RATE];
    for sentence in SENTENCES {
        for voice in 0..2 {
            let mut said = say(folder, voice, sentence);
            scale(&mut said, 3_000.0);
            all.extend(said);
            all.extend(std::iter::repeat_n(0.0, 2 * RATE));
        }
    }
    all
}

fn scale(samples: &mut [f64], rms: f64) {
    let now = (power(samples)).sqrt().max(1e-9);
    samples.iter_mut().for_each(|sample| *sample *= rms / now);
}

fn power(samples: &[f64]) -> f64 {
    samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len().max(1) as f64
}

fn noise(folder: &Path, kind: &str, length: usize) -> Vec<f64> {
    let wav = folder.join("noise.wav");
    let seconds = (length / RATE + 1).to_string();
    run(
        "sox",
        &["-R", "-n", "-r", "16000", "-c", "1", wav.to_str().unwrap(), "synth", &seconds, kind, "vol", "0.3"],
    );
    let mut noise = samples(folder, "noise.wav");
    noise.truncate(length);
    noise
}

/// Eight voices talking past each other.
fn babble(folder: &Path, length: usize) -> Vec<f64> {
    let mut all = vec![0.0; length];
    for talker in 0..8usize {
        let mut own = Vec::new();
        for n in 0..SENTENCES.len() {
            let mut said = say(folder, talker % 4, SENTENCES[(n * 5 + talker) % SENTENCES.len()]);
            scale(&mut said, 1_000.0);
            own.extend(said);
        }
        for (n, sample) in all.iter_mut().enumerate() {
            *sample += own[(n + talker * 7_919) % own.len()];
        }
    }
    all
}

fn truth(speech: &[f64]) -> Vec<Truth> {
    let levels: Vec<f64> =
        speech.chunks(WINDOW).map(|window| 10.0 * (power(window) + 1e-3).log10()).collect();
    let loudest = levels.iter().copied().fold(f64::MIN, f64::max);
    let near = |at: usize| {
        let range = at.saturating_sub(MARGIN_AFTER)..(at + MARGIN_BEFORE).min(levels.len());
        levels[range].iter().any(|level| *level > loudest - 60.0)
    };
    let decide = |(at, level): (usize, &f64)| match level {
        level if *level > loudest - 30.0 => Truth::Speech,
        _ if near(at) => Truth::Between,
        _ => Truth::Silence,
    };
    levels.iter().enumerate().map(decide).collect()
}

/// Speech with noise so that speech itself is `db` louder than the noise.
fn mix(speech: &[f64], noise: &[f64], truth: &[Truth], db: f64) -> Vec<f64> {
    let spoken: Vec<f64> = speech
        .chunks(WINDOW)
        .zip(truth)
        .filter(|(_, truth)| **truth == Truth::Speech)
        .flat_map(|(window, _)| window.to_vec())
        .collect();
    let gain = (power(&spoken) / power(noise) / 10f64.powf(db / 10.0)).sqrt();
    speech.iter().zip(noise).map(|(speech, noise)| speech + noise * gain).collect()
}

/// The detector's state at the end of every window.
fn states(vad: Box<dyn Vad>, samples: &[f64]) -> Vec<VadState> {
    let mut detector = Detector::new(vad, DetectorConfig::default());
    samples
        .chunks(WINDOW)
        .map(|window| {
            let bytes: Vec<u8> = window
                .iter()
                .flat_map(|sample| (sample.clamp(-32_768.0, 32_767.0) as i16).to_le_bytes())
                .collect();
            detector.push(
                &Frame::new(AudioFormat::SPEECH, Bytes::from(bytes)).expect("whole samples"),
                |_, _| {},
            );
            detector.state()
        })
        .collect()
}

/// Misses and false alarms in percent. The first 100 ms of an utterance are the detector's to
/// become sure, and the gate's pre-roll covers them.
fn rates(truth: &[Truth], states: &[VadState]) -> (f64, f64) {
    let open = |state: &VadState| matches!(state, VadState::Speaking | VadState::Stopping);
    let begins =
        |at: usize| truth[at.saturating_sub(MARGIN_BEFORE)..at].iter().any(|truth| *truth != Truth::Speech);
    let spoken: Vec<bool> = (0..truth.len())
        .filter(|at| truth[*at] == Truth::Speech && !begins(*at))
        .map(|at| open(&states[at]))
        .collect();
    let silent: Vec<bool> =
        (0..truth.len()).filter(|at| truth[*at] == Truth::Silence).map(|at| open(&states[at])).collect();
    let share = |all: &[bool], wanted: bool| {
        100.0 * all.iter().filter(|one| **one == wanted).count() as f64 / all.len().max(1) as f64
    };
    (share(&spoken, false), share(&silent, true))
}
