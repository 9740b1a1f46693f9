mod children;
mod conformance;
mod dealt;
mod refusals;
mod vectors;
