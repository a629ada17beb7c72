//! What an operator can ask the server.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /healthz` | anyone | 200 while the process lives |
//! | `GET /readyz` | anyone | 200 when each dependency is ready, else 503, with the state of each |
//! | `GET /metrics` | session or token | Prometheus text |

mod feature;
mod probes;

pub use self::feature::Health;
