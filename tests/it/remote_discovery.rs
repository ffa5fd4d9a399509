//! Targets that are asked for over the network: `http_sd_configs` and `dns_sd_configs`, against real sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::{A, Aaaa, Srv};
use promferry::config::checked::ScrapeConfig;
use promferry::config::{self, Source, YAML_VARIABLE};
use promferry::discovery::{Discovery, Network, Noticing, TargetSet, discover_once};
use promferry::net::credentials::Credentials;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::support::fake_target::{Behaviour, FakeTarget, Step, answer};

const DEADLINE: Duration = Duration::from_secs(30);

pub fn configs(keys: &str) -> Vec<Arc<ScrapeConfig>> {
    let yaml = format!("outputs: [{{name: o, file: {{path: '-'}}}}]\nscrape_configs:\n- job_name: j\n  {keys}\n");
    let loaded = config::load(&Source::Variable, &|name| (name == YAML_VARIABLE).then(|| yaml.clone()));
    loaded.unwrap_or_else(|problems| panic!("{problems}\n{yaml}")).scrapes
}

pub fn credentials() -> Arc<Credentials> {
    Arc::new(Credentials::new(Duration::ZERO))
}

pub struct Running {
    pub discovery: Discovery,
    sets: watch::Receiver<Arc<TargetSet>>,
}

impl Running {
    pub fn start(keys: &str) -> Self {
        let network = Network { credentials: credentials(), runtime: tokio::runtime::Handle::current() };
        let (discovery, sets) = Discovery::start(configs(keys), Noticing::Events, network).unwrap();
        Self { discovery, sets }
    }

    pub async fn until(&mut self, what: &str, is_there: impl FnMut(&Arc<TargetSet>) -> bool) -> Arc<TargetSet> {
        let waited = tokio::time::timeout(DEADLINE, self.sets.wait_for(is_there)).await;
        waited.unwrap_or_else(|_| panic!("it did not come: {what}")).expect("discovery runs").clone()
    }
}

pub fn urls(set: &TargetSet) -> Vec<&str> {
    set.targets.iter().map(|target| target.origin.url.as_str()).collect()
}

fn json(body: &str) -> Step {
    Step::Answer(answer("200 OK", "content-type: application/json\r\n", body.as_bytes()))
}

#[tokio::test]
async fn a_server_lists_targets_and_while_it_cannot_its_last_list_stays() {
    let steps = vec![
        json(r#"[{"targets": ["10.0.0.1:9100"], "labels": {"zone": "a", "__param_id": "rep"}}]"#),
        Step::Answer(answer("503 Service Unavailable", "", b"")),
        json(r#"[{"targets": ["10.0.0.2:9100"]}, 3]"#),
        json(r#"[{"targets": ["10.0.0.2:9100"]}]"#),
    ];
    let server = FakeTarget::start(Behaviour::Steps(steps)).await;
    let keys = format!(
        "http_sd_configs: [{{url: 'http://{}/sd?key=secret', refresh_interval: 1s, authorization: {{credentials: tok}}}}]",
        server.address
    );
    let mut running = Running::start(&keys);
    let shown = format!("http://{}/sd", server.address);
    let set = running.until("the first list", |set| !set.targets.is_empty()).await;
    assert_eq!(urls(&set), ["http://10.0.0.1:9100/metrics?id=rep"]);
    assert_eq!(set.targets[0].origin.labels.get("zone"), Some("a"));
    assert_eq!(set.targets[0].discovered.get("__meta_url"), Some(shown.as_str()));
    let first = set.targets[0].clone();

    let set = running.until("the refusal", |set| !set.problems.is_empty()).await;
    let stays = "what it said before stays";
    assert_eq!(set.problems, [format!("job j: http_sd: {shown}: answered 503 Service Unavailable; {stays}")]);
    assert!(Arc::ptr_eq(&set.targets[0], &first));

    let set = running.until("the damaged list", |set| set.problems.iter().any(|one| one.contains("list"))).await;
    let told = "its answer is no list of targets: group 2: expected targets and labels, found a number";
    assert_eq!(set.problems, [format!("job j: http_sd: {shown}: {told}; {stays}")]);
    assert!(Arc::ptr_eq(&set.targets[0], &first));

    let set = running.until("the second list", |set| set.problems.is_empty()).await;
    assert_eq!(urls(&set), ["http://10.0.0.2:9100/metrics"]);
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /sd?key=secret http/1.1\r\n"), "{head}");
    for line in ["authorization: bearer tok\r\n", "x-prometheus-refresh-interval-seconds: 1\r\n"] {
        assert!(head.contains(line), "{head}");
    }
}

#[tokio::test]
async fn a_command_that_looks_once_waits_for_the_answer() {
    let server = FakeTarget::start(Behaviour::Steps(vec![json(r#"[{"targets": ["h:1"]}]"#)])).await;
    let keys = format!("http_sd_configs: [{{url: 'http://{}/'}}]", server.address);
    let set = discover_once(configs(&keys), credentials()).await;
    assert_eq!(urls(&set), ["http://h:1/metrics"]);

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let set = discover_once(configs(&format!("http_sd_configs: [{{url: 'http://{nobody}/'}}]")), credentials()).await;
    assert!(set.targets.is_empty());
    assert_eq!(set.problems.len(), 1);
    assert!(set.problems[0].starts_with(&format!("job j: http_sd: http://{nobody}/: ")), "{:?}", set.problems);
}

#[tokio::test]
async fn a_reload_keeps_the_answers_of_what_is_asked_still() {
    let server = FakeTarget::start(Behaviour::Steps(vec![json(r#"[{"targets": ["h:1"]}]"#)])).await;
    let sd = format!("http_sd_configs: [{{url: 'http://{}/', refresh_interval: 1h}}]", server.address);
    let mut running = Running::start(&sd);
    let set = running.until("the list", |set| !set.targets.is_empty()).await;
    running.discovery.reload(configs(&format!("{sd}\n  static_configs: [{{targets: ['other:1']}}]")));
    let after = running.until("the new target", |set| set.targets.len() == 2).await;
    assert!(after.targets.iter().any(|target| Arc::ptr_eq(target, &set.targets[0])));
    assert_eq!(server.heads().len(), 1, "nobody was asked again");
    running.discovery.reload(configs("static_configs: [{targets: ['other:1']}]"));
    running.until("the end of the list", |set| urls(set) == ["http://other:1/metrics"]).await;
}

/// What a fake server of names says.
#[derive(Clone)]
enum Names {
    Addresses(Vec<IpAddr>),
    Services(Vec<(&'static str, u16)>),
    /// As `Addresses`, but over UDP only that it does not fit.
    Cut(Vec<IpAddr>),
    Code(Rcode),
}

struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Names>>,
}

impl NameServer {
    async fn start(says: Names) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let says = Arc::new(Mutex::new(says));
        let told = says.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            loop {
                let (length, peer) = udp.recv_from(&mut bytes).await.unwrap();
                let says = told.lock().unwrap().clone();
                // A forged answer, with another number, comes first.
                let mut forged = reply(&bytes[..length], &Names::Addresses(vec!["6.6.6.6".parse().unwrap()]), true);
                forged[0] ^= 1;
                udp.send_to(&forged, peer).await.unwrap();
                udp.send_to(&reply(&bytes[..length], &says, true), peer).await.unwrap();
            }
        });
        let told = says.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut bytes).await.unwrap();
                let says = told.lock().unwrap().clone();
                let reply = reply(&bytes, &says, false);
                stream.write_u16(reply.len() as u16).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        Self { address, says }
    }

    fn say(&self, names: Names) {
        *self.says.lock().unwrap() = names;
    }
}

fn reply(question: &[u8], says: &Names, is_udp: bool) -> Vec<u8> {
    let question = Message::from_octets(question).unwrap();
    let code = if let Names::Code(code) = says { *code } else { Rcode::NOERROR };
    let mut builder = MessageBuilder::new_vec().start_answer(&question, code).unwrap();
    let name = question.sole_question().unwrap().qname().to_owned();
    let ttl = Ttl::from_secs(1);
    match says {
        Names::Cut(_) if is_udp => builder.header_mut().set_tc(true),
        Names::Addresses(addresses) | Names::Cut(addresses) => {
            for address in addresses {
                match address {
                    IpAddr::V4(ip) => builder.push((&name, ttl, A::new(*ip))).unwrap(),
                    IpAddr::V6(ip) => builder.push((&name, ttl, Aaaa::new(*ip))).unwrap(),
                }
            }
        }
        Names::Services(services) => {
            for (host, port) in services {
                let host: Name<Vec<u8>> = host.parse().unwrap();
                builder.push((&name, ttl, Srv::new(0, 0, *port, host))).unwrap();
            }
        }
        Names::Code(_) => {}
    }
    builder.finish()
}

fn dns(server: &NameServer, keys: &str) -> String {
    format!("dns_sd_configs: [{{names: [q-s0.cell.default.cf.bosh], servers: ['{}'], {keys}}}]", server.address)
}

async fn once(server: &NameServer, keys: &str) -> Arc<TargetSet> {
    discover_once(configs(&dns(server, keys)), credentials()).await
}

#[tokio::test]
async fn names_stand_for_addresses_and_services() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let server = NameServer::start(Names::Addresses(vec![ip("10.0.0.2"), ip("10.0.0.1"), ip("10.0.0.2")])).await;
    let set = once(&server, "type: A, port: 14726").await;
    assert_eq!(urls(&set), ["http://10.0.0.1:14726/metrics", "http://10.0.0.2:14726/metrics"]);
    assert_eq!(set.targets[0].discovered.get("__meta_dns_name"), Some("q-s0.cell.default.cf.bosh"));

    server.say(Names::Addresses(vec![ip("fd00::1")]));
    assert_eq!(urls(&*once(&server, "type: AAAA, port: 1").await), ["http://[fd00::1]:1/metrics"]);

    server.say(Names::Services(vec![("b.example.", 2), ("a.example.", 1), (".", 0)]));
    let set = once(&server, "type: SRV").await;
    assert_eq!(urls(&set), ["http://a.example:1/metrics", "http://b.example:2/metrics"]);
    assert_eq!(set.targets[0].discovered.get("__meta_dns_srv_record_target"), Some("a.example."));

    let many: Vec<_> = (0..200).map(|at| ip(&format!("10.0.1.{at}"))).collect();
    server.say(Names::Cut(many));
    assert_eq!(once(&server, "type: A, port: 1").await.targets.len(), 200);
}

#[tokio::test]
async fn no_such_name_is_an_answer_and_no_answer_changes_nothing() {
    let server = NameServer::start(Names::Addresses(vec!["10.0.0.1".parse().unwrap()])).await;
    let mut running = Running::start(&dns(&server, "type: A, port: 1, refresh_interval: 1s"));
    let first = running.until("the address", |set| !set.targets.is_empty()).await;

    server.say(Names::Code(Rcode::SERVFAIL));
    let set = running.until("the failure", |set| !set.problems.is_empty()).await;
    let told = format!("server {} says SERVFAIL; what it stood for before stays", server.address);
    assert_eq!(set.problems, [format!("job j: dns_sd: q-s0.cell.default.cf.bosh: {told}")]);
    assert!(Arc::ptr_eq(&set.targets[0], &first.targets[0]));

    server.say(Names::Code(Rcode::NXDOMAIN));
    let set = running.until("the end", |set| set.targets.is_empty()).await;
    assert!(set.problems.is_empty(), "{:?}", set.problems);
}
