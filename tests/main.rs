//! Black-box tests: the binary, real sockets, real plugins. One program, so that it links once.

mod conformance;
mod faults;
mod hostile;
