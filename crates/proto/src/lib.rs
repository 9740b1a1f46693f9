//! Generated wire types and their conversions to the model.
