//! Changes the rate of speech by windowed sinc interpolation.

use std::f64::consts::PI;

/// Zero crossings of the kernel to each side: enough for speech, and cheap in a debug build.
const CROSSINGS: f64 = 8.0;

/// `samples` at another rate. Frequencies that the new rate cannot carry are filtered out.
pub(super) fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let step = f64::from(from) / f64::from(to);
    // Going down, the kernel widens to filter what would fold back.
    let cutoff = (1.0 / step).min(1.0);
    let reach = CROSSINGS / cutoff;
    let length = (samples.len() as f64 / step).round() as usize;
    let at = |index: usize| {
        let centre = index as f64 * step;
        let first = (centre - reach).ceil().max(0.0) as usize;
        let last = ((centre + reach).floor() as usize + 1).min(samples.len());
        let weighted =
            samples.get(first..last).unwrap_or_default().iter().enumerate().map(|(offset, sample)| {
                f64::from(*sample) * kernel(((first + offset) as f64 - centre) * cutoff)
            });
        (weighted.sum::<f64>() * cutoff).round().clamp(-32768.0, 32767.0) as i16
    };
    (0..length).map(at).collect()
}

fn kernel(distance: f64) -> f64 {
    if distance.abs() < 1e-9 {
        return 1.0;
    }
    let sinc = (PI * distance).sin() / (PI * distance);
    // A Hann window.
    sinc * 0.5 * (1.0 + (PI * distance / CROSSINGS).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_height_and_strength_at_every_rate() {
        let tone = |rate: u32| -> Vec<i16> {
            let sample = |n| (10_000.0 * (2.0 * PI * 440.0 * f64::from(n) / f64::from(rate)).sin()) as i16;
            (0..rate / 4).map(sample).collect()
        };
        for to in [8_000, 22_050, 24_000, 48_000] {
            let (resampled, wanted) = (resample(&tone(16_000), 16_000, to), tone(to));
            assert!(resampled.len().abs_diff(wanted.len()) <= 1);
            let middle = 200..wanted.len() - 200;
            let worst = middle.map(|n| (i32::from(resampled[n]) - i32::from(wanted[n])).abs()).max();
            assert!(worst.unwrap() < 150, "{to}: {worst:?}");
        }
    }
}
