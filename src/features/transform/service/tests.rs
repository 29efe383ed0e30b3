//! Filled by the replay of recorded answers.
