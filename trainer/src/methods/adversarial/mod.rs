//! Adversarial training and its successors: the loss is one of adversarial examples.

pub(super) mod at;
pub(super) mod fast;
pub(super) mod free;
pub(super) mod inner_attack;
pub(super) mod mail_trades;
pub(super) mod mart;
pub(super) mod trades;
pub(super) mod weat;
