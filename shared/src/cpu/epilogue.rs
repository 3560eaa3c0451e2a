//! What is done to the sums of a convolution before they are stored.

use super::{activation::activate, image::Layout};
use crate::{models::Activation, simd::Simd};

/// Most numbers of one call of [`Epilogue::apply`].
pub(super) const MOST: usize = 256;

/// Where the sums of a convolution go.
pub(super) struct Epilogue<'a> {
    /// Of every buffer below.
    pub(super) layout: Layout,
    /// Added first, one number a channel.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) store: Store,
}

/// The two kinds of [`crate::plan::Operation`].
pub(super) enum Store {
    /// Forward: y, with or without what is there, and a(y) and a′(y).
    Forward {
        raw: Option<(*mut f32, bool)>,
        active: Option<(*mut f32, *mut f32)>,
        activation: Activation,
    },
    /// Backward: the sums, times a′, plus what is there.
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
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
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
                        activate(activation, sums, values, derivatives);
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
