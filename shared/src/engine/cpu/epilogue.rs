//! What is done to the sums of a convolution before they are stored.

use super::{activation::activate, image::Layout};
use crate::{
    engine::{plan::Affine, simd::Simd},
    models::Activation,
};

/// Most numbers of one call of [`Epilogue::apply`].
pub(super) const MOST: usize = 256;

/// Where the sums of a convolution go.
pub(crate) struct Epilogue<'a> {
    /// How images lie in every buffer below.
    pub(crate) layout: Layout,
    /// Added first, one number a channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// What is done to y in front of the activation.
    pub(crate) affine: Option<&'a Affine>,
    pub(crate) store: Store,
}

/// The two kinds of [`crate::engine::plan::Operation`].
pub(crate) enum Store {
    /// Forward: y, with or without what is there; and a(y) and a′(y), or y and 1 where there is no
    /// activation.
    Forward {
        raw: Option<(*mut f32, bool)>,
        active: Option<(*mut f32, *mut f32)>,
        activation: Option<Activation>,
    },
    /// Backward: the sums, times a′, plus what is there. Without both, just the sums.
    Backward {
        derivative: Option<*const f32>,
        output: *mut f32,
        add: bool,
    },
}

impl Epilogue<'_> {
    /// Takes in sums for `places.len()` pixels, `width` channels each from `channel` on; `places`
    /// are those of the pixels' first numbers.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; and the places must lie in the buffers.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(
        &self,
        sums: &mut [f32],
        width: usize,
        places: &[usize],
        channel: usize,
    ) {
        let sums = &mut sums[..places.len() * width];
        if let Some(bias) = self.bias {
            let bias = &bias[channel..channel + width];
            for sums in sums.chunks_exact_mut(width) {
                // SAFETY: the caller vouches for the instruction set; both have so many numbers.
                each::<S>(width, |i| unsafe {
                    let sum = S::load(sums.as_ptr().add(i));
                    let sum = S::add(sum, S::load(bias.as_ptr().add(i)));
                    S::store(sums.as_mut_ptr().add(i), sum);
                });
            }
        }
        // SAFETY: as the caller vouches.
        unsafe {
            match self.store {
                Store::Forward {
                    raw,
                    active,
                    activation,
                } => {
                    if let Some((raw, add)) = raw {
                        for (sums, place) in sums.chunks_exact_mut(width).zip(places) {
                            let raw = raw.add(place + channel);
                            if add {
                                each::<S>(width, |i| {
                                    let sum =
                                        S::add(S::load(sums.as_ptr().add(i)), S::load(raw.add(i)));
                                    S::store(sums.as_mut_ptr().add(i), sum);
                                    S::store(raw.add(i), sum);
                                });
                            } else {
                                each::<S>(width, |i| {
                                    S::store(raw.add(i), S::load(sums.as_ptr().add(i)))
                                });
                            }
                        }
                    }
                    if let Some((value, derivative)) = active {
                        let mut values = [0.0; MOST];
                        let mut derivatives = [0.0; MOST];
                        let (values, derivatives) =
                            (&mut values[..sums.len()], &mut derivatives[..sums.len()]);
                        if let Some(Affine { scale, shift }) = self.affine {
                            let scale = scale[channel..channel + width].as_ptr();
                            let shift = shift[channel..channel + width].as_ptr();
                            for sums in sums.chunks_exact_mut(width) {
                                each::<S>(width, |i| {
                                    let y = S::load(sums.as_ptr().add(i));
                                    let scale = S::load(scale.add(i));
                                    let z = S::mul_add(y, scale, S::load(shift.add(i)));
                                    S::store(sums.as_mut_ptr().add(i), z);
                                });
                            }
                        }
                        match activation {
                            Some(activation) => activate(activation, sums, values, derivatives),
                            None => {
                                values.copy_from_slice(sums);
                                derivatives.fill(1.0);
                            }
                        }
                        if let Some(Affine { scale, .. }) = self.affine {
                            let scale = scale[channel..channel + width].as_ptr();
                            for derivatives in derivatives.chunks_exact_mut(width) {
                                each::<S>(width, |i| {
                                    let derivative = S::load(derivatives.as_ptr().add(i));
                                    let scale = S::load(scale.add(i));
                                    let derivative = S::mul_add(derivative, scale, S::splat(0.0));
                                    S::store(derivatives.as_mut_ptr().add(i), derivative);
                                });
                            }
                        }
                        for (n, place) in places.iter().enumerate() {
                            let (from, to) = (n * width, place + channel);
                            each::<S>(width, |i| {
                                S::store(value.add(to + i), S::load(values.as_ptr().add(from + i)));
                                S::store(
                                    derivative.add(to + i),
                                    S::load(derivatives.as_ptr().add(from + i)),
                                );
                            });
                        }
                    }
                }
                Store::Backward {
                    derivative,
                    output,
                    add,
                } => {
                    for (sums, place) in sums.chunks_exact(width).zip(places) {
                        let at = place + channel;
                        each::<S>(width, |i| {
                            let mut sum = S::load(sums.as_ptr().add(i));
                            let there = if add {
                                S::load(output.add(at + i))
                            } else {
                                S::splat(0.0)
                            };
                            sum = match derivative {
                                Some(derivative) => {
                                    S::mul_add(sum, S::load(derivative.add(at + i)), there)
                                }
                                None => S::add(sum, there),
                            };
                            S::store(output.add(at + i), sum);
                        });
                    }
                }
            }
        }
    }
}

/// Calls `body` with the start of each vector of `width` numbers.
#[inline(always)]
fn each<S: Simd>(width: usize, mut body: impl FnMut(usize)) {
    debug_assert_eq!(width % S::LANES, 0);
    let mut i = 0;
    while i < width {
        body(i);
        i += S::LANES;
    }
}
