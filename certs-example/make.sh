#!/usr/bin/env bash
# Makes the three certificates of a metric scrape over mutual TLS: make.sh DIR [SERVER NAME]...
#
#   DIR/metric_scraper_ca.{crt,key}  signs the other two; the key is needed only to sign more
#   DIR/server.{crt,key}             what a target shows: DNS names, server_auth only
#   DIR/client.{crt,key}             what the scraper shows: client_auth only
#
# For trying things out. A deployment lets CredHub or BOSH make them: see README.md.
set -euo pipefail

ca_days=3650
leaf_days=365

fail() {
  echo "make.sh: $*" >&2
  exit 1
}

dir=${1:-}
if [ -z "$dir" ]; then
  echo "usage: make.sh DIR [SERVER NAME]..." >&2
  exit 2
fi
shift
names=("$@")
# Cloud Foundry's: the jobs' own have underscores, and all of them are reached by IP address.
[ ${#names[@]} -gt 0 ] || names=(metrics_agent_metrics prom_scraper_metrics cc.service.internal localhost)
for name in "${names[@]}"; do
  [[ $name =~ ^[A-Za-z0-9_.*-]+$ ]] || fail "\"$name\" is not a DNS name"
done
command -v openssl >/dev/null || fail "openssl is missing"

umask 077
mkdir -p "$dir"
for file in metric_scraper_ca server client; do
  for end in crt key; do
    [ ! -e "$dir/$file.$end" ] || fail "$dir/$file.$end is there already; nothing was changed"
  done
done

# Made aside, so that a failure leaves nothing half done.
new=$(mktemp -d "$dir/.new.XXXXXX")
trap 'rm -rf "$new"' EXIT

cat >"$new/openssl.cnf" <<CONFIG
[req]
distinguished_name = empty
[empty]
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $(printf 'DNS:%s,' "${names[@]}" | sed 's/,$//')
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectAltName = DNS:prom_scraper
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG

# certificate FILE SECTION COMMON_NAME DAYS [SIGNER OPTIONS]...
certificate() {
  openssl req -x509 -config "$new/openssl.cnf" -extensions "$2" -subj "/CN=$3" -days "$4" -sha256 \
    -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$new/$1.key" -out "$new/$1.crt" "${@:5}" 2>"$new/log" || {
    cat "$new/log" >&2
    fail "openssl could not make $1.crt; version 3.0 or later is needed"
  }
}
signer=(-CA "$new/metric_scraper_ca.crt" -CAkey "$new/metric_scraper_ca.key")
certificate metric_scraper_ca ca metricScraperCA $ca_days
certificate server server "${names[0]}" $leaf_days "${signer[@]}"
certificate client client prom_scraper $leaf_days "${signer[@]}"

chmod 0644 "$new"/*.crt
mv "$new"/*.crt "$new"/*.key "$dir/"
echo "made in $dir, for the server names ${names[*]}"
