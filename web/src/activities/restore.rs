//! Filling holes, enlarging and colouring: the settings.

use basin_protocol::{ByDistance, EnergyKind, Known, Model, Origin, Plan, Sampler};

use super::{
    Activity, Pairs, number,
    picture_choice::{self, Picture},
    seed,
};

/// What is restored, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    pub picture: Picture,
    pub what: What,
    /// What is missing, where it is a hole.
    pub hole: Hole,
    /// The class of the picture, where the visitor says it.
    pub class: Option<usize>,
    pub seed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Hole,
    Enlarge(Factor),
    Colour,
}

/// By how much a picture is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Two,
    Four,
}

/// Results side by side, each of other noise.
pub const RESULTS: usize = 4;

/// Largest side of a hole's square that a link may have.
const LARGEST: usize = 256;

impl What {
    pub const ALL: [Self; 4] = [
        Self::Hole,
        Self::Enlarge(Factor::Two),
        Self::Enlarge(Factor::Four),
        Self::Colour,
    ];

    /// The word for it in a link.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Enlarge(Factor::Two) => "enlarge2",
            Self::Enlarge(Factor::Four) => "enlarge4",
            Self::Colour => "colour",
        }
    }

    /// The words for it in a form.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hole => "fill a hole",
            Self::Enlarge(Factor::Two) => "enlarge 2×",
            Self::Enlarge(Factor::Four) => "enlarge 4×",
            Self::Colour => "colour a grey picture",
        }
    }
}

/// Some pixels of a square.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    side: usize,
    /// Whether each pixel is in it, `[side, side]`.
    inside: Vec<bool>,
}

impl Default for Hole {
    /// A square in the middle.
    fn default() -> Self {
        const SIDE: usize = 32;
        let middle = |at: usize| (SIDE * 3 / 8..SIDE * 11 / 16).contains(&at);
        let inside = (0..SIDE * SIDE).map(|pixel| middle(pixel / SIDE) && middle(pixel % SIDE));
        Self {
            side: SIDE,
            inside: inside.collect(),
        }
    }
}

impl Hole {
    /// The same of a square of another side.
    pub fn fitted(&self, side: usize) -> Self {
        let source = |at: usize| at * self.side / side;
        let inside = (0..side * side)
            .map(|pixel| self.inside[source(pixel / side) * self.side + source(pixel % side)]);
        Self {
            side,
            inside: inside.collect(),
        }
    }

    /// Whether a pixel is in it.
    pub fn contains(&self, pixel: usize) -> bool {
        self.inside[pixel]
    }

    /// Nothing of the same square.
    pub fn cleared(&self) -> Self {
        Self {
            side: self.side,
            inside: vec![false; self.inside.len()],
        }
    }

    /// Paints a square of `brush` pixels around a pixel, or wipes it.
    pub fn paint(&mut self, [row, column]: [usize; 2], brush: usize, inside: bool) {
        let reach = |at: usize| {
            let at = at.min(self.side - 1);
            at.saturating_sub(brush / 2)..(at + brush.div_ceil(2)).min(self.side)
        };
        let (rows, columns) = (reach(row), reach(column));
        for row in rows {
            self.inside[row * self.side..][columns.clone()].fill(inside);
        }
    }

    /// Lengths of runs along the rows, outside and inside by turns, the first outside.
    fn runs(&self) -> Vec<usize> {
        let mut runs = vec![0];
        let mut last = false;
        for &inside in &self.inside {
            if inside != last {
                runs.push(0);
                last = inside;
            }
            *runs.last_mut().expect("one at least") += 1;
        }
        runs
    }

    /// The reverse, where they make a square.
    fn of_runs(runs: &[usize]) -> Option<Self> {
        let total = runs
            .iter()
            .try_fold(0, |sum: usize, &run| sum.checked_add(run))?;
        let side = total.isqrt();
        if side * side != total || !(2..=LARGEST).contains(&side) {
            return None;
        }
        let inside = runs.iter().enumerate();
        let inside = inside.flat_map(|(place, &run)| std::iter::repeat_n(place % 2 == 1, run));
        Some(Self {
            side,
            inside: inside.collect(),
        })
    }
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            picture: Picture::default(),
            what: What::Hole,
            hole: Hole::default(),
            class: None,
            seed: 4711,
        }
    }
}

impl Restore {
    /// What is known of the picture.
    pub fn known(&self, model: &Model) -> Known {
        match self.what {
            What::Hole => Known::Around {
                hole: self.hole.fitted(model.size).inside,
            },
            What::Enlarge(Factor::Two) => Known::BlockMeans { factor: 2 },
            What::Enlarge(Factor::Four) => Known::BlockMeans { factor: 4 },
            What::Colour => Known::Grey { colourless: None },
        }
    }
}

impl Activity for Restore {
    fn plan(&self, model: &Model) -> Plan {
        let last = model.class_names.len() - 1;
        Plan {
            seed: self.seed,
            morph: None,
            classes: vec![self.class.unwrap_or(0).min(last); RESULTS],
            energy: match self.class {
                Some(_) => EnergyKind::Joint,
                None => EnergyKind::Marginal,
            },
            sampler: Sampler::ByDistance(ByDistance::RESTORING),
            steps: ByDistance::RESTORING_STEPS,
            origin: Origin::Image {
                noise: ByDistance::RESTORING_NOISE,
            },
            mixture: None,
            known: Some(self.known(model)),
            adversary: None,
        }
    }

    fn write(&self, _: Option<&Model>, pairs: &mut Pairs) {
        pairs.push(("picture", self.picture.name()));
        pairs.push(("what", self.what.name().into()));
        if self.hole != Hole::default() {
            let runs: Vec<_> = self.hole.runs().iter().map(usize::to_string).collect();
            pairs.push(("hole", runs.join("-")));
        }
        pairs.extend(self.class.map(|class| ("class", class.to_string())));
        pairs.push(("seed", self.seed.to_string()));
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "picture" => self.picture = picture_choice::read(value)?,
            "what" => {
                let named = What::ALL.into_iter().find(|what| what.name() == value);
                self.what = named.ok_or("hole, enlarge2, enlarge4 or colour")?;
            }
            "hole" => {
                let runs: Option<Vec<usize>> =
                    value.split('-').map(|run| run.parse().ok()).collect();
                let hole = runs.and_then(|runs| Hole::of_runs(&runs));
                self.hole = hole.ok_or("lengths of runs of pixels that make a square")?;
            }
            "class" if value == "any" => self.class = None,
            "class" => self.class = Some(number(value, 0..=999, "a class number or any")?),
            "seed" => self.seed = seed(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_painted_wiped_and_written_in_runs() {
        let mut hole = Hole::of_runs(&[16]).unwrap();
        hole.paint([0, 0], 2, true);
        hole.paint([3, 3], 3, true);
        let rows: Vec<Vec<bool>> = hole.inside.chunks(4).map(<[bool]>::to_vec).collect();
        assert_eq!(rows[0], [true, false, false, false]);
        assert_eq!(rows[2], [false, false, true, true]);
        assert_eq!(rows[3], rows[2]);
        assert_eq!(hole.runs(), [0, 1, 9, 2, 2, 2]);
        assert_eq!(Hole::of_runs(&hole.runs()), Some(hole.clone()));
        let mut beyond = hole.clone();
        beyond.paint([700, 700], 3, true);
        assert_eq!(beyond, hole);
        hole.paint([2, 2], 1, false);
        assert!(!hole.contains(10) && hole.contains(11));
        for runs in [&[15][..], &[1], &[usize::MAX, 1], &[257 * 257]] {
            assert_eq!(Hole::of_runs(runs), None, "{runs:?}");
        }
    }

    #[test]
    fn a_hole_fits_any_size() {
        let hole = Hole::default();
        assert_eq!(hole.fitted(32), hole);
        for side in [8, 28, 64] {
            let fitted = hole.fitted(side);
            assert_eq!(fitted.inside.len(), side * side);
            assert!(!fitted.contains(0) && fitted.contains(side * side / 2 + side / 2));
        }
    }
}
