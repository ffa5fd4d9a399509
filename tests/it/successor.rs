//! What a reload puts into the place of another: a port is taken over without waiting for clients that ask nothing.

use std::time::Instant;

use tokio::net::TcpStream;

use crate::support::world::{World, until};

const EXPOSE: &str = "
scrape_configs: []
outputs:
  - name: all
    expose:
      listen: 127.0.0.1:0
      timestamps: CHANGES
      tls_config: {cert_file: FOLDER/scrape.crt, key_file: FOLDER/scrape.key}
admin: {listen: 127.0.0.1:0}
";

#[tokio::test]
async fn a_client_that_never_speaks_does_not_hold_a_reload() {
    let world = World::new();
    world.configure(&EXPOSE.replace("CHANGES", "false"));
    let process = world.run().await;
    let outputs = process.outputs().await;
    let url = outputs["all"]["urls"][0].as_str().unwrap();
    let _silent = TcpStream::connect(url.trim_end_matches("/metrics")).await.unwrap();

    world.configure(&EXPOSE.replace("CHANGES", "true"));
    let began = Instant::now();
    process.signal("HUP");
    until("the reload", async || process.log.of("configuration reloaded").pop()).await;
    // shutdown_timeout is 8 s, and the TLS handshake may take 10.
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(process.terminate().await.status.code(), Some(0));
}
