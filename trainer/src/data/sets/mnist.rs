//! MNIST (LeCun et al. 1998).

use crate::data::{
    Official,
    download::Archive,
    formats::idx::{self, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS},
};

pub(in crate::data) static SET: Official = Official {
    name: "mnist",
    folder: "mnist",
    unpacked: None,
    shape: idx::SHAPE,
    classes: CLASS_NAMES.len(),
    archives: ARCHIVES,
    load: |set, folders| idx::load(set, &CLASS_NAMES, folders),
    load_test: |set, folders| idx::load_test(set, CLASS_NAMES.len(), folders),
};

const CLASS_NAMES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The copy of the Common Visual Data Foundation: the authors' own page hands the files out no
/// longer. The checksums are those of the authors' files.
const ARCHIVES: &[Archive<'static>] = &[
    Archive {
        url: "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
        name: TRAIN_IMAGES,
        bytes: 9_912_422,
        sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    },
    Archive {
        url: "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
        name: TRAIN_LABELS,
        bytes: 28_881,
        sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    },
    Archive {
        url: "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-images-idx3-ubyte.gz",
        name: TEST_IMAGES,
        bytes: 1_648_877,
        sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    },
    Archive {
        url: "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz",
        name: TEST_LABELS,
        bytes: 4_542,
        sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
];
