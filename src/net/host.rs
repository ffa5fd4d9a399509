//! This machine: its name, and which addresses are its own.

use std::net::{IpAddr, UdpSocket};

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
}
