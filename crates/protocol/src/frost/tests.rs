mod conformance;
mod dealt;
mod refusals;
mod speed;
mod vectors;
