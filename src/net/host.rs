//! This machine: its name, and which addresses are its own.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The machine's name, or "localhost" where the system does not tell.
pub fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether an address is loopback or one of this machine's.
pub fn is_own_address(address: IpAddr) -> bool {
    // Only an own address can be bound; nothing is sent.
    address.is_loopback() || (!address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok())
}

/// Whether this host and port are a listener of ours.
pub fn is_listener(host: &str, port: u16, listener: SocketAddr) -> bool {
    port == listener.port() && is_host_of(host, listener)
}

fn is_host_of(name: &str, address: SocketAddr) -> bool {
    let (ours, is_any) = (address.ip(), address.ip().is_unspecified());
    match name.parse::<IpAddr>() {
        Ok(ip) if is_any => is_own_address(ip),
        Ok(ip) => ip.to_canonical() == ours.to_canonical(),
        Err(_) if name.eq_ignore_ascii_case("localhost") => is_any || ours.is_loopback(),
        // Other names are not resolved here: only the machine's own is known.
        Err(_) => is_any && name.eq_ignore_ascii_case(&machine_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_a_documentation_address_is_not() {
        assert!(is_own_address("127.0.0.2".parse().unwrap()));
        assert!(is_own_address("::1".parse().unwrap()));
        assert!(!is_own_address("192.0.2.1".parse().unwrap()));
        assert!(!machine_name().is_empty());
    }

    #[test]
    fn our_own_endpoint_is_known_by_each_of_its_addresses() {
        let is = |name: &str, address: &str| is_host_of(name, address.parse().unwrap());
        let machine = machine_name();
        for name in ["127.0.0.1", "::1", "localhost", "LocalHost", machine.as_str()] {
            assert!(is(name, "0.0.0.0:9699") && is(name, "[::]:9699"), "{name}");
        }
        assert!(is("127.0.0.1", "127.0.0.1:9699") && is("localhost", "127.0.0.1:9699"));
        assert!(is("::ffff:10.0.0.1", "10.0.0.1:9699"));
        for (name, address) in [
            ("192.0.2.1", "0.0.0.0:9699"),
            ("other.example", "0.0.0.0:9699"),
            ("127.0.0.1", "10.0.0.1:9699"),
            ("localhost", "10.0.0.1:9699"),
        ] {
            assert!(!is(name, address), "{name} {address}");
        }
    }
}
