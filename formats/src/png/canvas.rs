//! A picture in memory: filled boxes, lines and text of any size. No file, no numbers.

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_7X13, FONT_9X15, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Paper.
pub const WHITE: Rgb = [255, 255, 255];
/// Ink.
pub const INK: Rgb = [25, 25, 25];
/// Frames and grid lines.
pub const FAINT: Rgb = [170, 170, 170];
/// What is not a number.
pub const NAN: Rgb = [220, 30, 60];
/// Colours of markers, one after the other.
pub const MARKS: [Rgb; 4] = [[200, 30, 40], [20, 110, 190], [20, 130, 60], [170, 90, 0]];

/// A picture, row by row from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height × width` pixels.
    pub pixels: Vec<Rgb>,
}

/// Where the given point lies on a text: left, middle or right of it (the vertical place is always the middle).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Anchor {
    /// The text begins there.
    Left,
    /// The text is centred there.
    Middle,
    /// The text ends there.
    Right,
}

/// A text size in pixels, drawn with the nearest smaller bitmap font, enlarged smoothly beyond 20 pixels.
#[derive(Clone, Copy)]
pub struct Type {
    font: &'static MonoFont<'static>,
    scale: f64,
}

impl Type {
    /// Text about `height` pixels high; at least 10.
    pub fn of_height(height: usize) -> Type {
        let font = match height {
            0..=12 => &FONT_6X10,
            13..=14 => &FONT_7X13,
            15..=19 => &FONT_9X15,
            _ => &FONT_10X20,
        };
        let scale = if height > 20 { height as f64 / 20.0 } else { 1.0 };
        Type { font, scale }
    }

    /// Height of a line of text.
    pub fn height(&self) -> usize {
        (f64::from(self.font.character_size.height) * self.scale).round() as usize
    }

    /// Width of `text`.
    pub fn width(&self, text: &str) -> usize {
        let advance = self.font.character_size.width + self.font.character_spacing;
        (text.chars().count() as f64 * f64::from(advance) * self.scale).ceil() as usize
    }

    /// `text` cut to `width` pixels, with dots where something was cut.
    pub fn fit(&self, text: &str, width: usize) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let keep = width / self.width("x").max(1);
        let kept: String = text.chars().take(keep.saturating_sub(3)).collect();
        if keep > 3 { format!("{kept}...") } else { String::new() }
    }
}

/// A one-bit picture text is drawn on before it is enlarged.
struct Mask {
    width: usize,
    height: usize,
    bits: Vec<bool>,
}

impl Mask {
    fn at(&self, x: isize, y: isize) -> f64 {
        let inside = x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
        f64::from(u8::from(inside && self.bits[y as usize * self.width + x as usize]))
    }

    /// Ink at a point, between 0 and 1: bilinear, sharpened so that strokes keep their weight.
    fn ink(&self, x: f64, y: f64) -> f64 {
        let (x, y) = (x - 0.5, y - 0.5);
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let (i, j) = (x0 as isize, y0 as isize);
        let top = self.at(i, j) * (1.0 - fx) + self.at(i + 1, j) * fx;
        let low = self.at(i, j + 1) * (1.0 - fx) + self.at(i + 1, j + 1) * fx;
        ((top * (1.0 - fy) + low * fy - 0.3) / 0.4).clamp(0.0, 1.0)
    }
}

impl OriginDimensions for Mask {
    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }
}

impl DrawTarget for Mask {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(p, c) in pixels {
            if p.x >= 0 && p.y >= 0 && (p.x as usize) < self.width && (p.y as usize) < self.height {
                self.bits[p.y as usize * self.width + p.x as usize] = c.is_on();
            }
        }
        Ok(())
    }
}

impl Canvas {
    /// A picture of one colour.
    pub fn new(width: usize, height: usize, colour: Rgb) -> Canvas {
        Canvas { width, height, pixels: vec![colour; width * height] }
    }

    /// Fills a box; what lies outside is left out.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        let (x0, x1) = (x.min(self.width), x.saturating_add(width).min(self.width));
        for row in y..y.saturating_add(height).min(self.height) {
            self.pixels[row * self.width + x0..row * self.width + x1].fill(colour);
        }
    }

    /// A frame of `line` pixels around (outside) a box.
    pub fn frame(&mut self, x: usize, y: usize, width: usize, height: usize, line: usize, colour: Rgb) {
        let (x0, y0) = (x.saturating_sub(line), y.saturating_sub(line));
        self.fill(x0, y0, width + 2 * line, line, colour);
        self.fill(x0, y + height, width + 2 * line, line, colour);
        self.fill(x0, y0, line, height + 2 * line, colour);
        self.fill(x + width, y0, line, height + 2 * line, colour);
    }

    /// Copies another picture in.
    pub fn paste(&mut self, from: &Canvas, x: usize, y: usize) {
        let w = from.width.min(self.width.saturating_sub(x));
        for row in 0..from.height.min(self.height.saturating_sub(y)) {
            let at = (y + row) * self.width + x;
            self.pixels[at..at + w].copy_from_slice(&from.pixels[row * from.width..row * from.width + w]);
        }
    }

    /// Writes a line of text, vertically centred on `y`. Characters beyond Latin-1 become `?`.
    pub fn text(&mut self, x: usize, y: usize, anchor: Anchor, size: Type, colour: Rgb, text: &str) {
        let text: String = text.replace('\u{2212}', "-").replace('\u{3bc}', "\u{b5}");
        let glyph = size.font.character_size;
        let (w, h) = ((size.width(&text) as f64 / size.scale).ceil() as usize, glyph.height as usize);
        if w == 0 {
            return;
        }
        let mut mask = Mask { width: w, height: h, bits: vec![false; w * h] };
        let style = MonoTextStyle::new(size.font, BinaryColor::On);
        let Ok(_) = Text::with_baseline(&text, Point::zero(), style, Baseline::Top).draw(&mut mask);
        let (wide, high) = (size.width(&text), size.height());
        let left = match anchor {
            Anchor::Left => x as isize,
            Anchor::Middle => x as isize - wide as isize / 2,
            Anchor::Right => x as isize - wide as isize,
        };
        let top = y as isize - high as isize / 2;
        for r in 0..high {
            for c in 0..wide {
                let (px, py) = (left + c as isize, top + r as isize);
                if px < 0 || py < 0 || px as usize >= self.width || py as usize >= self.height {
                    continue;
                }
                let ink = match size.scale {
                    1.0 => mask.at(c as isize, r as isize),
                    s => mask.ink((c as f64 + 0.5) / s, (r as f64 + 0.5) / s),
                };
                if ink > 0.0 {
                    let p = &mut self.pixels[py as usize * self.width + px as usize];
                    for (p, k) in p.iter_mut().zip(colour) {
                        *p = (f64::from(*p) * (1.0 - ink) + f64::from(k) * ink).round() as u8;
                    }
                }
            }
        }
    }
}
