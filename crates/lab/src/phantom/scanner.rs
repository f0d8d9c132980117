//! From painted sheets to a slice as a scanner makes it: slice profile, blur, noise.

use super::draw::Draw;

/// What one scanner and protocol do to every slice.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    /// Deviation of the in-plane blur.
    blur_mm: f32,
    /// Deviation of the noise in the middle of the body.
    noise_hu: f32,
    /// Correlation length of the noise.
    grain_mm: f32,
    /// Share of the noise that runs along rows: photons are few from side to side.
    streak: f32,
}

impl Scanner {
    /// A scanner and a kernel.
    pub(super) fn draw(draw: &mut Draw) -> Scanner {
        Scanner {
            blur_mm: draw.uniform(0.55, 0.95),
            noise_hu: draw.uniform(7.5, 15.0),
            grain_mm: draw.uniform(0.5, 0.95),
            streak: draw.uniform(0.1, 0.4),
        }
    }

    /// Blurs a slice of `width` columns and adds the noise of this draw. `scale_mm` is the
    /// size of a pixel.
    pub(super) fn expose(&self, hu: &mut [f32], width: usize, scale_mm: f32, draw: &mut Draw) {
        // Gas and bone saturate before the blur as they do in the scanner.
        let blur = gaussian(self.blur_mm / scale_mm);
        across_rows(hu, width, &blur);
        across_columns(hu, width, &blur);
        let mut noise: Vec<f32> = (0..hu.len()).map(|_| draw.normal()).collect();
        let mut streak: Vec<f32> = (0..hu.len()).map(|_| draw.normal()).collect();
        let grain = gaussian(self.grain_mm / scale_mm);
        across_rows(&mut noise, width, &grain);
        across_columns(&mut noise, width, &grain);
        let long = gaussian(3.5 / scale_mm);
        across_rows(&mut streak, width, &long);
        across_columns(&mut streak, width, &grain);
        let noise_gain = self.noise_hu / kept(&grain).powi(2);
        let streak_gain = self.noise_hu * self.streak / (kept(&grain) * kept(&long)).sqrt().powi(2);
        let height = hu.len() / width;
        for (at, value) in hu.iter_mut().enumerate() {
            let [x, y] = [at % width, at / width].map(|v| v as f32);
            let (u, v) = (2.0 * x / width as f32 - 1.0, 2.0 * y / height as f32 - 1.0);
            // Fewest photons cross the middle.
            let centre = 1.0 - 0.45 * (u * u + v * v).min(1.0);
            // Lung and air let photons through.
            let dense = if *value < -300.0 { 0.75 } else { 1.0 };
            *value += centre * dense * (noise_gain * noise[at] + streak_gain * streak[at]);
        }
    }
}

/// Weights of a Gaussian, normalised, out to three deviations.
fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil().max(1.0) as i32;
    let raw = (-reach..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp());
    let weights: Vec<f32> = raw.collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Deviation that white noise keeps under these weights.
fn kept(weights: &[f32]) -> f32 {
    weights.iter().map(|w| w * w).sum::<f32>().sqrt()
}

fn across_rows(values: &mut [f32], width: usize, weights: &[f32]) {
    let reach = weights.len() / 2;
    let mut padded = vec![0.0; width + 2 * reach];
    for row in values.chunks_exact_mut(width) {
        padded[reach..reach + width].copy_from_slice(row);
        padded[..reach].fill(row[0]);
        padded[reach + width..].fill(row[width - 1]);
        for (x, value) in row.iter_mut().enumerate() {
            let window = &padded[x..x + weights.len()];
            *value = window.iter().zip(weights).map(|(v, w)| v * w).sum();
        }
    }
}

fn across_columns(values: &mut [f32], width: usize, weights: &[f32]) {
    let (height, reach) = (values.len() / width, weights.len() / 2);
    let before = values.to_vec();
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        row.fill(0.0);
        for (k, weight) in weights.iter().enumerate() {
            let from = (y + k).saturating_sub(reach).min(height - 1);
            let source = &before[from * width..][..width];
            row.iter_mut().zip(source).for_each(|(sum, v)| *sum += weight * v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::Stream;
    use super::*;

    #[test]
    fn blur_keeps_the_mean_and_noise_has_its_deviation() {
        let scanner = Scanner { blur_mm: 0.8, noise_hu: 12.0, grain_mm: 0.7, streak: 0.0 };
        let mut flat = vec![100.0; 256 * 256];
        let mut draw = Draw::new(1, Stream::Noise { phase: 2, slice: 0 });
        scanner.expose(&mut flat, 256, 0.8, &mut draw);
        let middle: Vec<f32> =
            (96..160).flat_map(|y| flat[y * 256 + 96..][..64].to_vec()).collect();
        let mean = middle.iter().sum::<f32>() / 4096.0;
        let deviation = (middle.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 4096.0).sqrt();
        assert!((mean - 100.0).abs() < 1.5, "{mean}");
        assert!((9.5..13.0).contains(&deviation), "{deviation}");
    }
}
