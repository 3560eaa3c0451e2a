//! The energy in a plane of images: which places are looked at, from coarse to fine, and what was seen there.

use std::sync::{Arc, LazyLock};

use basin_protocol::Request;
use basin_shared::Key;
use leptos::prelude::*;

use super::{Lab, Rival, now};
use crate::address::Tab;

/// Places along each edge of the grid.
pub const SIDE: usize = 33;

/// Distance of neighbours in the coarsest grid.
const COARSEST: usize = 8;

/// About how long the engine is kept from a chain that runs beside, in milliseconds.
const TILE_MILLISECONDS: f64 = 80.0;

/// Most images of a tile.
const MOST_IMAGES: usize = 48;

/// A square of a plane in the space of images. Places in it go from −1 to 1 along each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    centre: Vec<f32>,
    /// Two directions of length 1 at right angles.
    axes: [Vec<f32>; 2],
    /// From the centre to an edge, in L2.
    reach: f32,
}

impl Plane {
    /// Around an image, in two random directions.
    pub fn random(centre: &[f32], reach: f32, seed: u32) -> Self {
        let key = Key::new(seed.into());
        let [first, second] = [0, 1].map(|axis| key.fold_in(axis).normals(centre.len()));
        Self {
            centre: centre.into(),
            // Two of them lie on a line with probability 0.
            axes: orthonormal(first, second).unwrap_or_default(),
            reach,
        }
    }

    /// Through three images, with some room around them; none where they lie on a line.
    pub fn through(images: [&[f32]; 3]) -> Option<Self> {
        let [a, b, c] = images;
        let from_a = |x: &[f32]| -> Vec<f32> { x.iter().zip(a).map(|(x, a)| x - a).collect() };
        let axes = orthonormal(from_a(b), from_a(c))?;
        let centre: Vec<f32> = (0..a.len()).map(|i| (a[i] + b[i] + c[i]) / 3.0).collect();
        let mut plane = Self {
            centre,
            axes,
            reach: 1.0,
        };
        let far = images.map(|x| plane.place_of(x).map(f32::abs));
        plane.reach = 1.3 * far.into_iter().flatten().fold(0.0, f32::max);
        Some(plane)
    }

    /// The image at a place; its pixels may leave [0, 1].
    pub fn at(&self, [across, up]: [f32; 2]) -> Vec<f32> {
        let [first, second] = &self.axes;
        let axes = first.iter().zip(second);
        let numbers = self.centre.iter().zip(axes);
        let place = |(x, (a, b)): (&f32, (&f32, &f32))| x + self.reach * (across * a + up * b);
        numbers.map(place).collect()
    }

    /// The place nearest to an image.
    pub fn place_of(&self, x: &[f32]) -> [f32; 2] {
        [0, 1].map(|axis| {
            let away = x.iter().zip(&self.centre).map(|(x, centre)| x - centre);
            let along: f32 = away.zip(&self.axes[axis]).map(|(x, a)| x * a).sum();
            along / self.reach
        })
    }

    /// From the centre to an edge, in L2.
    pub fn reach(&self) -> f32 {
        self.reach
    }
}

/// The same plane's directions, at right angles and of length 1 (Gram and Schmidt); none where there is no plane.
fn orthonormal(first: Vec<f32>, second: Vec<f32>) -> Option<[Vec<f32>; 2]> {
    let unit = |mut v: Vec<f32>| {
        let length = v.iter().map(|v| v * v).sum::<f32>().sqrt();
        v.iter_mut().for_each(|v| *v /= length);
        (length > 1e-3).then_some(v)
    };
    let first = unit(first)?;
    let along: f32 = first.iter().zip(&second).map(|(a, b)| a * b).sum();
    let rest = second.iter().zip(&first).map(|(b, a)| b - along * a);
    let second = unit(rest.collect())?;
    Some([first, second])
}

/// The number in the order of looking of each place, row by row: every [`COARSEST`]th first, then those between.
static TURN: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut turn = vec![0; SIDE * SIDE];
    for (number, &place) in ORDER.iter().enumerate() {
        turn[place] = number;
    }
    turn
});

/// The places in the order of looking.
static ORDER: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let level = |place: &usize| {
        let (row, column) = (place / SIDE, place % SIDE);
        let mut stride = COARSEST;
        while row % stride != 0 || column % stride != 0 {
            stride /= 2;
        }
        COARSEST / stride
    };
    let mut places: Vec<usize> = (0..SIDE * SIDE).collect();
    places.sort_by_key(level);
    places
});

/// What was seen in a plane so far, by the model in use and by its rival.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    /// Its name, so that answers about another are told apart.
    id: u32,
    pub plane: Option<Arc<Plane>>,
    classes: usize,
    /// In the order of looking, of either network.
    logits: [Vec<f32>; 2],
}

impl Surface {
    /// Nothing was seen yet.
    pub fn new(id: u32, plane: Plane, classes: usize) -> Self {
        Self {
            id,
            plane: Some(Arc::new(plane)),
            classes,
            logits: Default::default(),
        }
    }

    /// How many places a network has seen.
    pub fn seen(&self, side: usize) -> usize {
        self.logits[side].len() / self.classes.max(1)
    }

    /// How far apart the places are of the finest grid that is complete.
    pub fn spacing(&self, side: usize) -> Option<usize> {
        let complete = |&stride: &usize| ((SIDE - 1) / stride + 1).pow(2) <= self.seen(side);
        [1, 2, 4, COARSEST].into_iter().find(complete)
    }

    /// The logits of the place nearest to one of the grid that was seen.
    pub fn logits(&self, side: usize, [row, column]: [usize; 2]) -> Option<&[f32]> {
        [1, 2, 4, COARSEST].into_iter().find_map(|stride| {
            let near = |at: usize| ((at + stride / 2) / stride * stride).min(SIDE - 1);
            let turn = TURN[near(row) * SIDE + near(column)];
            self.logits[side].chunks(self.classes.max(1)).nth(turn)
        })
    }
}

/// Where a place of the grid lies in its plane; rows go down.
pub fn place([row, column]: [usize; 2]) -> [f32; 2] {
    let along = |at: usize| at as f32 / (SIDE - 1) as f32 * 2.0 - 1.0;
    [along(column), -along(row)]
}

/// A tile that the engine looks at.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    surface: u32,
    side: usize,
    images: usize,
    at: f64,
}

impl Lab {
    /// Has the engine look at the next places of the surface on screen, if any are left and none are on their way.
    pub(super) fn survey(self) {
        let on_screen = self.settings.with_untracked(|s| s.tab) == Tab::Landscape;
        if !on_screen || self.bench.with_value(|bench| bench.asked.is_some()) {
            return;
        }
        let rival = matches!(self.rival.get_untracked(), Rival::Ready(_));
        let tile = self.bench.with_value(|bench| bench.tile);
        let next = self.surface.with_untracked(|surface| {
            let plane = surface.plane.clone()?;
            let seen = [0, 1].map(|side| surface.seen(side));
            let side = usize::from(rival && seen[1] < seen[0]);
            let places = ORDER.get(seen[side]..)?;
            let places = &places[..places.len().min(tile)];
            let images = places
                .iter()
                .flat_map(|at| plane.at(place([at / SIDE, at % SIDE])));
            let asked = Asked {
                surface: surface.id,
                side,
                images: places.len(),
                at: now(),
            };
            (!places.is_empty()).then(|| (asked, images.collect::<Vec<_>>()))
        });
        let Some((asked, images)) = next else {
            return;
        };
        self.bench.update_value(|bench| {
            let Some(engine) = bench.engine.as_ref().filter(|_| bench.ready) else {
                return;
            };
            let request = Request::Logits {
                images: asked.images,
                rival: asked.side == 1,
            };
            engine.ask(&request, &images);
            bench.asked = Some(asked);
            bench.waited = Some(0);
        });
    }

    /// What the engine saw there.
    pub(super) fn surveyed(self, fault: Option<String>, logits: Vec<f32>) {
        let Some(asked) = self
            .bench
            .try_update_value(|bench| bench.asked.take())
            .flatten()
        else {
            return;
        };
        let before = |surface: &Surface| surface.id != asked.surface;
        if let Some(fault) = fault {
            // A tile of the model before, which the engine has met with the next.
            if self.surface.with_untracked(before) {
                return self.survey();
            }
            return self.tell(true, format!("The landscape: {fault}."));
        }
        let each = (now() - asked.at).max(1.0) / asked.images as f64;
        let tile = (TILE_MILLISECONDS / each) as usize;
        self.bench
            .update_value(|bench| bench.tile = tile.clamp(1, MOST_IMAGES).min(2 * asked.images));
        let mine = |surface: &Surface| {
            surface.id == asked.surface && logits.len() == asked.images * surface.classes
        };
        if self.surface.with_untracked(mine) {
            self.surface
                .update(|surface| surface.logits[asked.side].extend(logits));
        }
        self.survey();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_through_three_images_holds_them() {
        let images: [&[f32]; 3] = [&[0.0, 0.0, 1.0], &[1.0, 0.0, 1.0], &[0.0, 2.0, 1.0]];
        let plane = Plane::through(images).unwrap();
        for x in images {
            let place = plane.place_of(x);
            assert!(place.iter().all(|at| at.abs() < 0.78), "{place:?}");
            let again = plane.at(place);
            assert!(again.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        assert_eq!(Plane::through([images[0], images[1], images[1]]), None);
    }

    #[test]
    fn a_random_plane_reaches_as_far_as_asked() {
        let centre = vec![0.5; 300];
        let plane = Plane::random(&centre, 4.0, 7);
        let corner = plane.at([1.0, -1.0]);
        let distance: f32 = corner.iter().map(|x| (x - 0.5) * (x - 0.5)).sum();
        assert!((distance.sqrt() - 32f32.sqrt()).abs() < 1e-3);
        assert_eq!(plane.at([0.0, 0.0]), centre);
        assert_ne!(plane, Plane::random(&centre, 4.0, 8));
    }

    #[test]
    fn every_place_is_seen_once_and_until_then_its_nearest_neighbour_is_shown() {
        let mut sorted = ORDER.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..SIDE * SIDE));
        let plane = Plane::random(&[0.5; 4], 1.0, 1);
        let mut surface = Surface::new(1, plane, 1);
        assert_eq!(
            (surface.logits(0, [0, 0]), surface.spacing(0)),
            (None, None)
        );
        let of = |places: &[usize]| places.iter().map(|&place| place as f32).collect();
        surface.logits[0] = of(&ORDER[..25]);
        assert_eq!(surface.spacing(0), Some(8));
        assert_eq!(surface.logits(0, [3, 29]), Some(&[32.0][..]));
        assert_eq!(
            surface.logits(0, [13, 12]),
            Some(&[(16 * SIDE + 16) as f32][..])
        );
        surface.logits[0] = of(&ORDER[..81]);
        assert_eq!(surface.spacing(0), Some(4));
        surface.logits[0] = of(&ORDER);
        assert_eq!(surface.spacing(0), Some(1));
        assert_eq!(
            surface.logits(0, [13, 12]),
            Some(&[(13 * SIDE + 12) as f32][..])
        );
    }
}
