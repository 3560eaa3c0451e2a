//! Fashion-MNIST (Xiao et al. 2017).

use basin_shared::class_names::FASHION_MNIST;

use crate::data::{
    Official,
    download::Archive,
    formats::idx::{self, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS},
};

pub(in crate::data) static SET: Official = Official {
    name: "fashion-mnist",
    folder: "fashion-mnist",
    unpacked: None,
    shape: idx::SHAPE,
    classes: FASHION_MNIST.len(),
    archives: ARCHIVES,
    load: |set, folders| idx::load(set, &FASHION_MNIST, folders),
    load_test: |set, folders| idx::load_test(set, FASHION_MNIST.len(), folders),
};

/// The addresses that the authors' README gives; that host speaks plain HTTP only, so the checksum
/// is what vouches for the bytes.
const ARCHIVES: &[Archive<'static>] = &[
    Archive {
        url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
        name: TRAIN_IMAGES,
        bytes: 26_421_880,
        sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    },
    Archive {
        url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
        name: TRAIN_LABELS,
        bytes: 29_515,
        sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    },
    Archive {
        url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
        name: TEST_IMAGES,
        bytes: 4_422_102,
        sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    },
    Archive {
        url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
        name: TEST_LABELS,
        bytes: 5_148,
        sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
];
