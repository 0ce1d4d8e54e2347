//! Prints the JSON Schema of the settings, as it follows from their types.

fn main() {
    print!("{}", portcullis_guest::testing::schema::<portcullis_example_hours::Settings>());
}
