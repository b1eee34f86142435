//! Tests of offers and answers.
