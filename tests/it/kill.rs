//! What `queue.disk` keeps, shown with the executable: kill -9 in outages, damaged and full disks, a second process.
//!
//! The receiver knows every document, by what makes it a point of a time series, and answers 409 to the second. Targets know
//! what they served, and when. So it is known of every sample whether it was lost, and by which kill.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use promferry::pipeline::disk::segment::{Frame, State, scan};
use serde_json::Value as Json;

use crate::support::bulk_server::{Act, BulkServer, Request, Store, answer};
use crate::support::elasticsearch::now_ms;
use crate::support::exporter::Exporter;
use crate::support::random::Random;
use crate::support::world::{Ended, Process, World, command, until};

const FLUSH_MS: i64 = 200;
/// What a busy machine may take on top: from a target's answer to the queue, and from the flush to the disk.
const SLACK_MS: i64 = 300;
const TARGETS: usize = 8;
/// Samples of a target's body, and with those that promferry adds.
const SERVED: usize = 8;
const SAMPLES: usize = SERVED + 5;

/// How the receiver is doing.
#[derive(Default)]
struct Receiver {
    /// A [`Mood`].
    mood: AtomicU64,
    random: std::sync::Mutex<Option<Random>>,
    requests: AtomicU64,
    /// Samples that it has taken.
    stored: AtomicU64,
    /// Samples that it had already, and said so.
    conflicts: AtomicU64,
}

/// What the receiver does about requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// It takes them.
    Well,
    /// 429: what is sent is not taken, and the program knows it.
    Down,
    /// It takes a third of the documents of each request.
    Partly,
    /// It fails in one way or another, at random; also after it has taken all or a part.
    Wild,
    /// It takes them, and never says so.
    Silent,
}

impl Receiver {
    fn set(&self, mood: Mood) {
        self.mood.store(mood as u64, SeqCst);
    }

    fn act(&self, store: &mut Store, request: &Request) -> Act {
        self.requests.fetch_add(1, SeqCst);
        let is = |mood: Mood| self.mood.load(SeqCst) == mood as u64;
        if is(Mood::Well) {
            return Act::Answer(self.take(store, request, 1));
        }
        if is(Mood::Partly) {
            return Act::Answer(self.take(store, request, 3));
        }
        if is(Mood::Silent) {
            self.take(store, request, 1);
            return Act::Hang;
        }
        let mut random = self.random.lock().unwrap();
        match random.as_mut().filter(|_| is(Mood::Wild)).map(|random| random.below(5)) {
            Some(0) => Act::Close(Vec::new()),
            Some(1) => Act::Answer(answer(503, "", "")),
            Some(2) => {
                self.take(store, request, 1);
                Act::Close(Vec::new())
            }
            Some(3) => Act::Answer(self.take(store, request, 3)),
            _ => Act::Answer(answer(429, "", "")),
        }
    }

    /// Takes one document of so many in, and is too busy for the others.
    fn take(&self, store: &mut Store, request: &Request, one_of: usize) -> Vec<u8> {
        let before = store.samples();
        let busy = Some((429, "es_rejected_execution_exception", ""));
        let said = store.bulk(request, |at| busy.filter(|_| !at.is_multiple_of(one_of)));
        self.stored.fetch_add(store.samples() - before, SeqCst);
        for (item, document) in said["items"].as_array().unwrap().iter().zip(request.documents()) {
            if item["create"]["status"] == 409 {
                self.conflicts.fetch_add(document["metrics"].as_object().unwrap().len() as u64, SeqCst);
            }
        }
        answer(200, "", &said.to_string())
    }
}

/// Targets, a receiver, and a folder with a disk queue.
struct Machine {
    world: World,
    targets: Vec<Exporter>,
    receiver: Arc<Receiver>,
    search: BulkServer,
}

impl Machine {
    async fn start() -> Self {
        let world = World::new();
        let mut targets = Vec::new();
        for _ in 0..TARGETS {
            let tls = world.ca.server(&["127.0.0.1"]).server_config(Some(&world.ca));
            targets.push(Exporter::start(tls, body).await);
        }
        let receiver = Arc::new(Receiver::default());
        let search = BulkServer::start_with({
            let receiver = receiver.clone();
            move |store, request| receiver.act(store, request)
        })
        .await;
        Self { world, targets, receiver, search }
    }

    /// Writes the configuration; `queue` are lines of the queue's.
    fn configure(&self, queue: &str) {
        let targets: Vec<String> = self.targets.iter().map(|target| target.address.to_string()).collect();
        self.world.configure(&format!(
            r#"
global: {{scrape_interval: 400ms}}
scrape_configs:
  - job_name: job
    scheme: https
    tls_config: {{ca_file: ca.crt, cert_file: scrape.crt, key_file: scrape.key}}
    static_configs: [{{targets: {targets:?}}}]
outputs:
  - name: search
    elasticsearch: {{urls: ["http://{}"]}}
    batch: {{flush_interval: {FLUSH_MS}ms, flush_jitter: 0s}}
    queue: {{{queue}}}
admin: {{listen: "127.0.0.1:0"}}
"#,
            self.search.address
        ));
    }

    /// The records on disk that are not done, by segment.
    fn on_disk(&self) -> BTreeMap<PathBuf, Vec<Frame>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(self.world.path("queue")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".segment") else { continue };
            let number = u64::from_str_radix(name, 16).unwrap();
            let mut file = File::open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            let mut frames = scan(&mut file, number, length).unwrap().frames;
            frames.retain(|frame| frame.state != State::Done);
            found.insert(path, frames);
        }
        found
    }

    fn samples_on_disk(&self) -> u64 {
        self.on_disk().values().flatten().map(|frame| u64::from(frame.samples)).sum()
    }

    /// The values of a target's scrapes in the store, by time.
    fn scrapes(&self, target: &Exporter) -> BTreeMap<i64, BTreeMap<String, f64>> {
        let instance = target.address.to_string();
        let mut scrapes = BTreeMap::<i64, BTreeMap<String, f64>>::new();
        for document in self.search.store().documents.values() {
            if document["labels"]["instance"] != instance.as_str() {
                continue;
            }
            let at: jiff::Timestamp = document["@timestamp"].as_str().unwrap().parse().unwrap();
            let series = document["labels"]["series"].as_str().unwrap_or_default();
            for (name, value) in document["metrics"].as_object().unwrap() {
                let scrape = scrapes.entry(at.as_millisecond()).or_default();
                let before = scrape.insert(format!("{name}{series}"), value.as_f64().unwrap());
                assert_eq!(before, None, "twice: {document}");
            }
        }
        scrapes
    }

    /// The numbers of a target's bodies that are not in the store. What is there is whole, right, and there once.
    fn lost(&self, target: &Exporter) -> Vec<u64> {
        let mut found = BTreeMap::new();
        for (at_ms, scrape) in self.scrapes(target) {
            assert_eq!((scrape.len(), scrape["up"]), (SAMPLES, 1.0), "at {at_ms}: {scrape:?}");
            let nth = scrape["scrape_number"] as u64;
            let is_right = |series: u64| scrape[&format!("moving{series}")] == (nth * 100 + series) as f64;
            assert!((1..SERVED as u64).all(is_right), "at {at_ms}: {scrape:?}");
            let before = found.insert(nth, at_ms);
            assert_eq!(before, None, "scrape {nth} at {at_ms} too");
        }
        (1..=target.bodies().len() as u64).filter(|nth| !found.contains_key(nth)).collect()
    }

    /// Whatever was served is in the store, but for what was served just before one of these ends.
    fn assert_lost_only_before(&self, ends: &[End]) {
        for target in &self.targets {
            let times = target.times_ms();
            for nth in self.lost(target) {
                let at_ms = times[nth as usize - 1];
                let is_excused = ends.iter().any(|end| (end.at_ms - end.costs_ms..=end.over_ms).contains(&at_ms));
                let end = ends.iter().find(|end| end.over_ms >= at_ms);
                let before = end.map(|end| (end.at_ms - at_ms, end.how));
                assert!(is_excused, "scrape {nth} of {} is lost; ms before the next end: {before:?}", target.address);
            }
        }
    }

    async fn until_served(&self, times: usize) {
        let counts = || self.targets.iter().map(|target| target.bodies().len());
        let before: Vec<usize> = counts().collect();
        let is_there = || counts().zip(&before).all(|(now, before)| now >= before + times);
        until("targets are scraped", async || is_there().then_some(())).await;
    }
}

/// When a process ended.
struct End {
    /// Before it was told to.
    at_ms: i64,
    /// When it was over.
    over_ms: i64,
    /// What was served so long before may be lost.
    costs_ms: i64,
    how: &'static str,
}

fn body(nth: u64) -> String {
    let moving = |series: u64| format!("moving{{series=\"{series}\"}} {}\n", nth * 100 + series);
    format!("scrape_number {nth}\n{}", (1..SERVED as u64).map(moving).collect::<String>())
}

const DISK: &str = "disk: {path: queue, fsync: batch}";

async fn search(process: &Process) -> Json {
    process.outputs().await["search"].clone()
}

/// Waits until the disk queue is open, and has taken up exactly what is there.
async fn until_restored(process: &Process, samples: u64) {
    let output = until("the disk queue is open", async || {
        Some(search(process).await).filter(|output| output["disk"].is_object())
    })
    .await;
    assert_eq!(output["ledger"]["restored"], samples, "{output}");
}

/// Waits until so many records are on disk.
async fn until_kept(process: &Process, records: u64) {
    until("records are on disk", async || {
        (search(process).await["disk"]["records"].as_u64() >= Some(records)).then_some(())
    })
    .await;
}

async fn until_drained(process: &Process) {
    until("all of it is delivered", async || {
        let output = search(process).await;
        (output["disk"]["records"] == 0 && output["ledger"]["waiting"] == 0).then_some(())
    })
    .await;
}

/// All that there was is delivered, or was already: nothing is lost, and nothing is mistaken for a loss.
fn assert_nothing_lost(ended: &Ended) {
    assert!(ended.status.success());
    for loss in ["rejected", "dropped", "skipped", "waiting"] {
        assert_eq!(ended.count("search", loss), 0, "{loss}: {:?}", ended.log.of("drained"));
    }
}

// ---- kill -9 -------------------------------------------------------------------------------------------------------

/// In which moment of its life a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It may not even have read what is on disk.
    Starting,
    /// Batches go to the disk.
    Writing,
    /// Any time in an outage.
    Failing,
    /// The disk is read back and delivered.
    Replaying,
    /// What was read back is stored, and no answer says so.
    Unanswered,
    /// Nothing is on disk, and all is well.
    Idle,
}

impl Machine {
    /// Starts a process, and kills it in this moment. Returns when that was.
    async fn kill_while(&self, moment: Moment, random: &mut Random) -> End {
        self.receiver.set(match moment {
            Moment::Starting | Moment::Writing | Moment::Failing => Mood::Wild,
            Moment::Replaying | Moment::Idle => Mood::Well,
            Moment::Unanswered => Mood::Silent,
        });
        let expected = self.samples_on_disk();
        let config = self.world.path("promferry.yml");
        let mut command = command(&["run", "-c", config.to_str().unwrap()]);
        if matches!(moment, Moment::Starting) {
            let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
            // A random moment is what is asked for; nothing is waited for here, and below.
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            return end(child.kill(), "starting").await;
        }
        let requests = self.receiver.requests.load(SeqCst);
        let process = Process::start(command).await;
        if !matches!(moment, Moment::Replaying | Moment::Unanswered) {
            until_restored(&process, expected).await;
        }
        match moment {
            Moment::Starting => {}
            Moment::Writing => {
                let kept = search(&process).await["disk"]["bytes"].clone();
                until("something is written", async || (search(&process).await["disk"]["bytes"] != kept).then_some(()))
                    .await;
                tokio::time::sleep(Duration::from_millis(random.below(600))).await;
            }
            Moment::Failing => tokio::time::sleep(Duration::from_millis(random.below(1500))).await,
            Moment::Replaying | Moment::Unanswered => {
                let wanted = requests + 1 + if matches!(moment, Moment::Replaying) { random.below(8) } else { 0 };
                // Not `until`: it looks too seldom.
                while self.receiver.requests.load(SeqCst) < wanted {
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
            }
            Moment::Idle => {
                until_drained(&process).await;
                tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            }
        }
        let log = process.log.clone();
        let end = end(process.kill(), "killed").await;
        for lost in ["samples rejected", "samples dropped"] {
            assert_eq!(log.of(lost), [""; 0], "{moment:?}");
        }
        end
    }
}

async fn end<T>(end: impl Future<Output = T>, how: &'static str) -> End {
    let at_ms = now_ms();
    end.await;
    End { at_ms, over_ms: now_ms(), costs_ms: FLUSH_MS + SLACK_MS, how }
}

#[tokio::test]
async fn twenty_kills_in_outages_cost_a_flush_interval_each_and_double_nothing() {
    let machine = Machine::start().await;
    let mut random = Random::new(0x6b69_6c6c);
    *machine.receiver.random.lock().unwrap() = Some(Random::new(0x7769_6c64));
    let mut ends = Vec::new();
    for round in 0..4 {
        machine.configure(if round % 2 == 0 { DISK } else { "disk: {path: queue, fsync: never}" });
        let mut failing = vec![Moment::Starting, Moment::Writing, Moment::Failing];
        while !failing.is_empty() {
            let moment = failing.swap_remove(random.below(failing.len() as u64) as usize);
            ends.push(machine.kill_while(moment, &mut random).await);
        }
        let replay = if round % 2 == 0 { Moment::Replaying } else { Moment::Unanswered };
        ends.push(machine.kill_while(replay, &mut random).await);
        ends.push(machine.kill_while(Moment::Idle, &mut random).await);
    }
    assert_eq!(ends.len(), 20);
    // One more outage, so that the last process has something to take up.
    ends.push(machine.kill_while(Moment::Writing, &mut random).await);

    machine.receiver.set(Mood::Well);
    let (stored, conflicts) = (machine.receiver.stored.load(SeqCst), machine.receiver.conflicts.load(SeqCst));
    let (restored, began_ms) = (machine.samples_on_disk(), now_ms());
    let process = machine.world.run().await;
    until_restored(&process, restored).await;
    machine.until_served(2).await;
    until_drained(&process).await;
    let at_ms = now_ms();
    let ended = process.terminate().await;
    // A scrape that is under way is given up.
    ends.push(End { at_ms, over_ms: now_ms(), costs_ms: SLACK_MS, how: "terminated" });

    machine.assert_lost_only_before(&ends);
    assert_nothing_lost(&ended);
    let (stored, conflicts) =
        (machine.receiver.stored.load(SeqCst) - stored, machine.receiver.conflicts.load(SeqCst) - conflicts);
    assert_eq!((ended.count("search", "delivered"), ended.count("search", "duplicate")), (stored, conflicts));
    let of_last =
        |target| machine.scrapes(target).range(began_ms..).map(|(_, scrape)| scrape.len() as u64).sum::<u64>();
    assert_eq!(ended.count("search", "offered"), machine.targets.iter().map(of_last).sum::<u64>());
    assert_eq!(ended.count("search", "restored"), restored);
    assert_eq!(machine.samples_on_disk(), 0);
}

/// It came back as one that was never sent, and counted as lost what the receiver had.
#[tokio::test]
async fn a_kill_after_a_part_of_a_record_was_taken_makes_no_conflict_of_it() {
    let machine = Machine::start().await;
    machine.configure(DISK);
    machine.receiver.set(Mood::Down);
    let process = machine.world.run().await;
    until_kept(&process, 2).await;
    machine.receiver.set(Mood::Partly);
    until("a part of a record is taken", async || {
        (search(&process).await["ledger"]["delivered"].as_u64() > Some(0)).then_some(())
    })
    .await;
    process.kill().await;
    machine.receiver.set(Mood::Well);
    let kept = machine.samples_on_disk();
    let process = machine.world.run().await;
    until_restored(&process, kept).await;
    until_drained(&process).await;
    let ended = process.terminate().await;
    assert_nothing_lost(&ended);
    assert_eq!(ended.count("search", "duplicate"), machine.receiver.conflicts.load(SeqCst));
    assert!(ended.count("search", "duplicate") > 0);
}

// ---- orderly ends, damage, disks that take nothing -----------------------------------------------------------------

#[tokio::test]
async fn an_end_in_an_outage_is_quick_and_the_next_start_delivers_all() {
    let machine = Machine::start().await;
    machine.configure(DISK);
    machine.receiver.set(Mood::Down);
    let process = machine.world.run().await;
    until_kept(&process, 3).await;
    let first = process.terminate().await;
    assert!(first.status.success());
    assert!(first.took < Duration::from_secs(3), "shutdown_timeout is 8 s; it took {:?}", first.took);
    let kept = machine.samples_on_disk();
    assert_eq!((first.count("search", "waiting"), first.count("search", "offered")), (kept, kept));

    machine.receiver.set(Mood::Well);
    let second = machine.world.run().await;
    until_restored(&second, kept).await;
    until_drained(&second).await;
    let second = second.terminate().await;
    assert_nothing_lost(&second);
    assert_eq!(machine.receiver.stored.load(SeqCst), kept + second.count("search", "offered"));
    assert_eq!((machine.receiver.conflicts.load(SeqCst), machine.samples_on_disk()), (0, 0));
    // A scrape that is under way when a process is told to end is given up.
    let lost: usize = machine.targets.iter().map(|target| machine.lost(target).len()).sum();
    assert!(lost <= 2 * TARGETS, "{lost}");
}

#[tokio::test]
async fn a_cut_off_segment_and_a_flipped_byte_cost_a_record_each() {
    let machine = Machine::start().await;
    machine.configure(DISK);
    machine.receiver.set(Mood::Down);
    let mut offered = 0;
    for records in [3, 6] {
        let process = machine.world.run().await;
        until_kept(&process, records).await;
        offered += process.terminate().await.count("search", "offered");
    }
    let on_disk = machine.on_disk();
    assert_eq!((on_disk.len(), machine.samples_on_disk()), (2, offered), "each process has a segment of its own");
    let [(first, flipped), (last, cut)] = on_disk.iter().collect::<Vec<_>>().try_into().unwrap();
    let (flipped, cut) = (flipped[1], *cut.last().unwrap());
    let mut bytes = std::fs::read(first).unwrap();
    bytes[flipped.end() as usize - 1] ^= 1;
    std::fs::write(first, bytes).unwrap();
    File::options().write(true).open(last).unwrap().set_len(cut.end() - 1).unwrap();

    machine.receiver.set(Mood::Well);
    let process = machine.world.run().await;
    until_restored(&process, offered).await;
    until_drained(&process).await;
    assert_eq!(search(&process).await["disk"]["corruptRecords"], 2);
    let ended = process.terminate().await;
    let lost = u64::from(flipped.samples + cut.samples);
    assert_eq!(reasons(&ended), format!("dropped corrupt {lost}"));
    let stored = machine.receiver.stored.load(SeqCst);
    assert_eq!(
        (stored, ended.count("search", "delivered")),
        (offered - lost + ended.count("search", "offered"), stored)
    );
    let told = ended.log.of("a segment of the disk queue is damaged; what is damaged is left out");
    let files = BTreeMap::from_iter(told.iter().map(|line| (line["file"].to_string(), &line["error"])));
    assert_eq!((told.len(), files.len()), (2, 2), "each segment is named once: {told:?}");
}

/// What the ledger gives as reasons, such as `dropped corrupt 3`.
fn reasons(ended: &Ended) -> String {
    let line = ended.log.of("drained").into_iter().rfind(|line| line["output"] == "search");
    line.unwrap()["reasons"].as_str().unwrap().to_owned()
}

/// Starts promferry with a limit on the size of files, in place of a full disk; root meets it too.
async fn start_with_files_below(machine: &Machine, bytes: u64) -> Process {
    let promferry = command(&["run", "-c", machine.world.path("promferry.yml").to_str().unwrap()]);
    let promferry = promferry.as_std();
    let mut limited = tokio::process::Command::new("sh");
    // Without the signal, it is an error of the write.
    limited.args(["-c", &format!("trap '' XFSZ; exec prlimit --fsize={bytes}:unlimited -- \"$0\" \"$@\"")]);
    limited.arg(promferry.get_program()).args(promferry.get_args());
    limited.env_remove("RUST_LOG").kill_on_drop(true).stdin(std::process::Stdio::null());
    Process::start(limited).await
}

#[tokio::test]
async fn a_full_disk_leaves_it_to_memory_and_goes_on_when_there_is_room() {
    let machine = Machine::start().await;
    // Two seconds' worth in memory.
    machine.configure(&format!("max_samples: {}, {DISK}", TARGETS * SAMPLES * 5));
    machine.receiver.set(Mood::Down);
    let process = start_with_files_below(&machine, 8 << 10).await;
    let told =
        until("the disk is full", async || search(&process).await["disk"]["failing"].as_str().map(str::to_owned)).await;
    assert!(told.contains("the file would be larger than the system allows; writing a record failed: "), "{told}");
    let dropped =
        until("memory is full too", async || search(&process).await["ledger"]["dropped"]["disk_full"].as_u64()).await;
    assert!(dropped > 0);
    let kept = search(&process).await["disk"]["records"].as_u64();
    assert!(kept > Some(0), "what is there stays there");

    let pid = format!("--pid={}", process.id());
    let raised = std::process::Command::new("prlimit").args([&pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    until("it writes again", async || (search(&process).await["disk"]["records"].as_u64() > kept).then_some(())).await;
    machine.until_served(2).await;
    machine.receiver.set(Mood::Well);
    until_drained(&process).await;
    let ended = process.terminate().await;
    let dropped = ended.count("search", "dropped");
    assert_eq!(reasons(&ended), format!("dropped disk_full {dropped}"));
    assert_eq!(machine.receiver.stored.load(SeqCst), ended.count("search", "offered") - dropped);
    let said = |message: &str| ended.log.of(message).len();
    assert_eq!(said("the disk queue does not work; what it does not take stays in memory, and it is tried again"), 1);
    assert_eq!((said("the disk queue works again"), said("samples dropped")), (1, 1));
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_said_and_memory_does_it() {
    let machine = Machine::start().await;
    machine.configure(DISK);
    std::fs::write(machine.world.path("queue"), "a file").unwrap();
    machine.receiver.set(Mood::Down);
    let process = machine.world.run().await;
    machine.until_served(3).await;
    assert!(search(&process).await["failing"].is_string());
    machine.receiver.set(Mood::Well);
    until("all of it is delivered", async || (search(&process).await["ledger"]["waiting"] == 0).then_some(())).await;
    let ended = process.terminate().await;
    assert_nothing_lost(&ended);
    assert_eq!(machine.receiver.stored.load(SeqCst), ended.count("search", "offered"));
    let told = ended.log.of("the disk queue cannot be used; what waits is kept in memory alone");
    assert_eq!(told.len(), 1);
    let (error, folder) = (told[0]["error"].as_str().unwrap(), machine.world.path("queue"));
    assert!(error.starts_with(&folder.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_says_so_and_keeps_to_memory() {
    let machine = Machine::start().await;
    machine.configure(DISK);
    machine.receiver.set(Mood::Down);
    let first = machine.world.run().await;
    until_kept(&first, 1).await;
    // Else both would write the same series at the same times.
    let config = std::fs::read_to_string(machine.world.path("promferry.yml")).unwrap();
    machine.world.configure(&config.replace("global: {", "global: {external_labels: {process: second}, "));
    machine.receiver.set(Mood::Well);
    let second = machine.world.run().await;
    // For a while it may be the predecessor of a reload that has it.
    let message = "the disk queue cannot be used; what waits is kept in memory alone";
    let told = until("it says so", async || second.log.of(message).pop()).await;
    assert!(told["error"].as_str().unwrap().contains(": another process has this disk queue open; "), "{told}");
    machine.receiver.set(Mood::Down);
    for process in [&first, &second] {
        until("it fails", async || search(process).await["failing"].is_string().then_some(())).await;
    }

    machine.receiver.set(Mood::Well);
    until_drained(&first).await;
    until("all of it is delivered", async || (search(&second).await["ledger"]["waiting"] == 0).then_some(())).await;
    let (first, second) = (first.terminate().await, second.terminate().await);
    assert_nothing_lost(&first);
    assert_nothing_lost(&second);
    assert_eq!(second.count("search", "restored"), 0);
    let stored = machine.receiver.stored.load(SeqCst);
    assert_eq!(stored, first.count("search", "offered") + second.count("search", "offered"));
}
