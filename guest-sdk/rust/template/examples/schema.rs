//! Prints the JSON Schema of the settings, as it follows from their types.

fn main() {
    print!("{}", portcullis_guest::testing::schema::<my_plugin::Settings>());
}
