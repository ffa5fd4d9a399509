//! OpenMetrics text from outside: the rules of the strict reader, and what real and made-up bodies read as.

mod rules;
