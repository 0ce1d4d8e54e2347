//! The C bindings in `guest-sdk/c/bindings` are what `wit-bindgen` makes of `wit/policy.wit`: a test holds them against it, and writes them
//! where `BLESS=1`.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use wit_bindgen_core::Files;
    use wit_bindgen_core::wit_parser::Resolve;

    #[test]
    fn the_bindings_are_those_of_the_contract() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(here.join("../../../../wit")).unwrap();
        let world = resolve.select_world(&[package], Some("plugin")).unwrap();
        let mut files = Files::default();
        // `portcullis plugin componentize` knows the world without an object file.
        let options = wit_bindgen_c::Opts { no_object_file: true, ..wit_bindgen_c::Opts::default() };
        options.build().generate(&mut resolve, world, &mut files).unwrap();
        let mut names = Vec::new();
        for (name, bytes) in files.iter() {
            let file = here.join("../../bindings").join(name);
            if env::var_os("BLESS").is_some() {
                fs::write(&file, bytes).unwrap();
            }
            assert!(fs::read(&file).ok().as_deref() == Some(bytes), "{name} is old: run the tests with BLESS=1");
            names.push(name.to_owned());
        }
        names.sort();
        assert_eq!(names, ["plugin.c", "plugin.h"]);
    }
}
