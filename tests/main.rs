//! Black-box tests: the binary, real sockets, real plugins. One program, so that it links once.

// All of it is a test, helpers included: the lints for tests apply.
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod hospital;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod interop;
