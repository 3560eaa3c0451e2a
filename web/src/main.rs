//! Basin's page, the program.

fn main() {
    basin_web::main();
}
