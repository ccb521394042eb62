//! Everything in the corpus of the fuzz targets, with any toolchain: a fuzzer's find stays found.

use std::fs;
use std::path::Path;

use tidegate_tests::{case, fuzzing};

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in fuzzing::TARGETS {
        let folder = fs::read_dir(corpus.join(name)).expect("a folder for each target");
        let mut files = 0;
        for file in folder {
            let path = file.expect("a folder that can be listed").path();
            let data = fs::read(&path).expect("a file that can be read");
            case(path.display(), || target(&data));
            files += 1;
        }
        assert!(files >= 10, "{name} has {files} files");
    }
}
