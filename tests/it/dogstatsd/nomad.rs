//! The example that takes the place of CircleCI's nomad-metrics.
