//! Sessions by example, and against a model: what a client would believe equals what the logs say.

use std::collections::BTreeMap;

use turgo_storage::sim::rng::Rng;

use super::*;

fn names(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| TopicName::Name((*name).into())).collect()
}

fn want(offset: i64) -> Want {
    Want {
        offset,
        max_bytes: 1 << 20,
        leader_epoch: -1,
        last_epoch: -1,
    }
}

fn marks(high_watermark: i64) -> Seen {
    Seen {
        high_watermark,
        last_stable: high_watermark,
        log_start: 0,
    }
}

fn cache(slots: usize) -> Cache {
    let bytes = 1 << 20;
    Cache::new(Limits { slots, bytes }, 1, 3)
}

/// A counter instead of chance.
fn counted() -> impl FnMut() -> u32 {
    let mut next = 100;
    move || {
        next += 10;
        next
    }
}

/// A consumer's session with so many partitions of `t`.
fn create(
    cache: &mut Cache,
    now_ms: u64,
    privileged: bool,
    partitions: i32,
    random: impl FnMut() -> u32,
) -> i32 {
    let parts = (0..partitions).map(|p| (0, p, want(0), marks(5)));
    cache.create(now_ms, privileged, false, &names(&["t"]), parts, random)
}

fn update(id: i32, epoch: i32) -> Update {
    Update {
        id,
        epoch,
        uses_ids: false,
        topics: names(&["t", "u"]),
        wanted: Vec::new(),
        forgotten: Vec::new(),
    }
}

fn order(round: &Round) -> Vec<(u32, i32)> {
    round.parts.iter().map(|p| (p.topic, p.partition)).collect()
}

#[test]
fn a_session_remembers_what_was_asked_and_told() {
    let mut cache = cache(10);
    let id = create(&mut cache, 0, false, 3, counted());
    assert!(id > 0);
    assert_eq!(home(id, 3), 1);
    let round = cache.begin(1, &update(id, 1)).unwrap().unwrap();
    assert_eq!(order(&round), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!((round.epoch, round.parts[1].seen), (2, marks(5)));
    // Partition 1 had records: it is read last from now on.
    let told = Told {
        place: round.parts[1].place,
        seen: marks(7),
        data: true,
    };
    assert_eq!(cache.finish(id, 2, &[told]), Ok(()));
    let mut next = update(id, 2);
    next.wanted = vec![(1, 4, want(9)), (0, 0, want(3))];
    next.forgotten = vec![(0, 2), (0, 77), (1, 5)];
    let round = cache.begin(2, &next).unwrap().unwrap();
    assert_eq!(order(&round), [(0, 0), (0, 1), (1, 4)]);
    assert_eq!(
        round.parts.iter().map(|p| p.want.offset).collect::<Vec<_>>(),
        [3, 0, 9]
    );
    assert_eq!(
        round.parts.iter().map(|p| p.seen).collect::<Vec<_>>(),
        [marks(5), marks(7), Seen::NOTHING]
    );
    cache.check();
}

#[test]
fn wrong_ids_epochs_and_kinds_of_topics_are_told_apart_and_change_nothing() {
    let mut cache = cache(10);
    let id = create(&mut cache, 0, false, 1, counted());
    assert_eq!(cache.begin(1, &update(id + 3, 1)), Err(SessionError::NotFound));
    assert_eq!(cache.begin(1, &update(id, 2)), Err(SessionError::Epoch));
    assert_eq!(cache.begin(1, &update(id, -5)), Err(SessionError::Epoch));
    let mut by_id = update(id, 1);
    by_id.uses_ids = true;
    assert_eq!(cache.begin(1, &by_id), Err(SessionError::TopicId));
    assert_eq!(cache.begin(1, &update(id, 1)).unwrap().unwrap().epoch, 2);
    // The same request again.
    assert_eq!(cache.begin(1, &update(id, 1)), Err(SessionError::Epoch));
    cache.close(id);
    assert_eq!(cache.begin(1, &update(id, 2)), Err(SessionError::NotFound));
    assert_eq!(cache.stats().sessions, 0);
    cache.check();
}

#[test]
fn an_answer_that_another_request_overtook_is_refused() {
    let mut cache = cache(10);
    let id = create(&mut cache, 0, false, 2, counted());
    let first = cache.begin(1, &update(id, 1)).unwrap().unwrap();
    let second = cache.begin(1, &update(id, 2)).unwrap().unwrap();
    assert_eq!(cache.finish(id, first.epoch, &[]), Err(SessionError::Epoch));
    assert_eq!(cache.finish(id, second.epoch, &[]), Ok(()));
    cache.close(id);
    assert_eq!(cache.finish(id, second.epoch, &[]), Ok(()));
}

#[test]
fn a_session_that_forgets_everything_is_gone() {
    let mut cache = cache(10);
    let id = create(&mut cache, 0, false, 1, counted());
    let mut next = update(id, 1);
    next.forgotten = vec![(0, 0)];
    assert_eq!(cache.begin(1, &next), Ok(None));
    assert_eq!(
        cache.stats(),
        Stats {
            created: 1,
            ..Stats::default()
        }
    );
    cache.check();
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(session::next_epoch(0), 1);
    assert_eq!(session::next_epoch(i32::MAX), 1);
}

#[test]
fn an_unchanged_partition_is_no_news_and_an_error_always_is() {
    let quiet = News {
        marks: marks(5),
        data: false,
        error: false,
        diverging: false,
    };
    assert_eq!(marks(5).news(&quiet), None);
    let seen = marks(5);
    for (high_watermark, last_stable, log_start) in [(6, 5, 0), (5, 4, 0), (5, 5, 1)] {
        let moved = News {
            marks: Seen {
                high_watermark,
                last_stable,
                log_start,
            },
            ..quiet
        };
        assert_eq!(seen.news(&moved), Some(moved.marks));
    }
    for news in [
        News { data: true, ..quiet },
        News {
            diverging: true,
            ..quiet
        },
    ] {
        assert_eq!(seen.news(&news), Some(marks(5)));
    }
    let failed = News { error: true, ..quiet };
    let told = seen.news(&failed).expect("an error");
    assert!(told.news(&failed).is_some(), "as long as it lasts");
    assert!(told.news(&quiet).is_some(), "and when it has gone");
}

#[test]
fn a_full_cache_prefers_the_stale_then_the_less_valuable() {
    let mut random = counted();
    let mut cache = cache(2);
    let small = create(&mut cache, 0, false, 1, &mut random);
    let large = create(&mut cache, 0, false, 9, &mut random);
    // Young sessions are safe from other consumers, whatever their size, until they were idle for too long.
    assert_eq!(create(&mut cache, STALE_MS, false, 50, &mut random), 0);
    // A follower takes the place of a consumer's.
    let follower = create(&mut cache, 1, true, 1, &mut random);
    assert!(follower > 0);
    assert_eq!(cache.begin(2, &update(small, 1)), Err(SessionError::NotFound));
    // Sessions in use may be replaced by larger ones once they are old enough.
    let old = STALE_MS + 10;
    assert!(cache.begin(STALE_MS, &update(large, 1)).is_ok());
    assert!(cache.begin(old, &update(large, 2)).is_ok());
    assert!(cache.begin(old, &update(follower, 1)).is_ok());
    assert_eq!(create(&mut cache, old, false, 8, &mut random), 0, "smaller");
    let larger = create(&mut cache, old, false, 10, &mut random);
    assert!(larger > 0);
    assert_eq!(cache.begin(old, &update(large, 3)), Err(SessionError::NotFound));
    // A session that was not used for long gives way to the smallest.
    assert!(create(&mut cache, old + STALE_MS + 1, false, 1, &mut random) > 0);
    assert_eq!(cache.stats().evicted, 3);
    cache.check();
}

#[test]
fn memory_is_bounded_and_a_session_that_outgrows_it_is_gone() {
    let bytes = 10 * PARTITION_BYTES + TOPIC_BYTES + 1;
    let mut cache = Cache::new(Limits { slots: 9, bytes }, 0, 1);
    let mut random = counted();
    assert_eq!(create(&mut cache, 0, false, 11, &mut random), 0);
    let id = create(&mut cache, 0, false, 10, &mut random);
    assert!(id > 0);
    assert_eq!(create(&mut cache, 0, false, 1, &mut random), 0);
    cache.check();
    let mut more = update(id, 1);
    more.wanted = vec![(0, 10, want(0))];
    assert_eq!(cache.begin(1, &more), Err(SessionError::NotFound));
    assert_eq!(cache.stats().bytes, 0);
    cache.check();
    // No slots: no sessions.
    let mut none = Cache::new(Limits { slots: 0, bytes }, 0, 1);
    assert_eq!(create(&mut none, 0, false, 1, &mut random), 0);
}

#[test]
fn shares_add_up_to_the_nodes_slots() {
    for slots in [0, 1, 7, 1000] {
        for cores in 1..9 {
            let sum: usize = (0..cores).map(|i| Limits::share(slots, i, cores).slots).sum();
            assert_eq!(sum, slots);
        }
    }
}

#[test]
fn topics_that_are_no_longer_read_are_forgotten() {
    let mut cache = cache(1);
    let id = create(&mut cache, 0, false, 2, counted());
    for epoch in 1..500 {
        let (old, new) = (format!("walk-{}", epoch - 1), format!("walk-{epoch}"));
        let mut next = update(id, epoch);
        next.topics = names(&[&old, &new]);
        next.wanted = vec![(1, 0, want(0))];
        next.forgotten = vec![(0, 0)];
        let round = cache.begin(epoch as u64, &next).unwrap().unwrap();
        assert_eq!(round.parts.len(), 3);
        let last = &round.topics[round.parts[2].topic as usize];
        assert_eq!(*last, TopicName::Name(new.as_str().into()));
        assert!(round.topics.len() <= 7);
        cache.check();
    }
}

/// A partition as the broker has it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Truth {
    marks: Seen,
    error: bool,
}

/// A client that keeps to KIP-227, as Java's `FetchSessionHandler` does.
#[derive(Default)]
struct Model {
    id: i32,
    epoch: i32,
    uses_ids: bool,
    /// What the session holds, as far as the client knows.
    session: BTreeMap<(usize, i32), Want>,
    /// What it wants now.
    wanted: BTreeMap<(usize, i32), Want>,
    believed: BTreeMap<(usize, i32), (Seen, bool)>,
}

struct World {
    topics: Vec<TopicName>,
    truth: BTreeMap<(usize, i32), Truth>,
    cache: Cache,
    now_ms: u64,
    words: Rng,
    sessions_lost: usize,
    rounds: usize,
    quiet: usize,
}

impl World {
    fn drift(&mut self, rng: &mut Rng) {
        for truth in self.truth.values_mut() {
            match rng.below(40) {
                0 => truth.marks.high_watermark += 1,
                1 => truth.marks.last_stable = truth.marks.high_watermark,
                2 => truth.marks.log_start += 1,
                3 => truth.error = !truth.error,
                _ => {}
            }
        }
    }

    fn news(&self, key: (usize, i32), want: Want) -> News {
        let truth = self.truth[&key];
        News {
            marks: truth.marks,
            data: !truth.error && want.offset < truth.marks.high_watermark,
            error: truth.error,
            diverging: false,
        }
    }

    fn number(&self, name: &TopicName) -> usize {
        self.topics.iter().position(|t| t == name).expect("a known topic")
    }

    /// One request of the client. `broken`: a rule to break, which the model must notice.
    fn fetch(&mut self, client: &mut Model, broken: bool) {
        self.now_ms += 100;
        if client.epoch == INITIAL_EPOCH {
            self.cache.close(client.id);
            let mut parts = Vec::new();
            client.believed.clear();
            for (key, want) in &client.wanted {
                let news = self.news(*key, *want);
                client.believed.insert(*key, (news.marks, news.error));
                let seen = Seen::NOTHING.news(&news).unwrap_or(news.marks);
                parts.push((key.0 as u32, key.1, *want, seen));
            }
            let words = &mut self.words;
            client.id = self.cache.create(
                self.now_ms,
                false,
                client.uses_ids,
                &self.topics,
                parts.into_iter(),
                || words.u64() as u32,
            );
            client.epoch = i32::from(client.id != 0);
            client.session = client.wanted.clone();
            return;
        }
        let update = Update {
            id: client.id,
            epoch: client.epoch,
            uses_ids: client.uses_ids,
            topics: self.topics.clone(),
            wanted: client
                .wanted
                .iter()
                .filter(|(key, want)| client.session.get(key) != Some(want))
                .map(|(key, want)| (key.0 as u32, key.1, *want))
                .collect(),
            forgotten: client
                .session
                .keys()
                .filter(|key| !client.wanted.contains_key(key))
                .map(|key| (key.0 as u32, key.1))
                .collect(),
        };
        let round = match self.cache.begin(self.now_ms, &update) {
            Ok(Some(round)) => round,
            Ok(None) => {
                assert!(client.wanted.is_empty(), "closed although something is wanted");
                client.epoch = INITIAL_EPOCH;
                return;
            }
            Err(error) => {
                assert_eq!(error, SessionError::NotFound);
                self.sessions_lost += 1;
                client.epoch = INITIAL_EPOCH;
                return;
            }
        };
        client.session = client.wanted.clone();
        client.believed.retain(|key, _| client.wanted.contains_key(key));
        assert_eq!(round.parts.len(), client.wanted.len());
        let mut told = Vec::new();
        for part in &round.parts {
            let key = (self.number(&round.topics[part.topic as usize]), part.partition);
            assert_eq!(client.wanted.get(&key), Some(&part.want), "{key:?}");
            let news = self.news(key, part.want);
            let Some(seen) = part.seen.news(&news) else {
                continue;
            };
            client.believed.insert(key, (news.marks, news.error));
            told.push(Told {
                place: part.place,
                seen,
                data: news.data,
            });
        }
        self.rounds += 1;
        self.quiet += round.parts.len() - told.len();
        if broken {
            // A partition is noted as told and is not in the answer.
            if let Some(told) = told.first() {
                let part = round
                    .parts
                    .iter()
                    .find(|p| p.place == told.place)
                    .expect("told of it");
                let key = (self.number(&round.topics[part.topic as usize]), part.partition);
                client.believed.remove(&key);
            }
        }
        assert_eq!(self.cache.finish(client.id, round.epoch, &told), Ok(()));
        client.epoch = round.epoch;
        self.cache.check();
    }

    fn agrees(&self, client: &Model) -> bool {
        client.wanted.keys().all(|key| {
            let truth = self.truth[key];
            match client.believed.get(key) {
                Some((marks, error)) => *error == truth.error && (truth.error || *marks == truth.marks),
                None => false,
            }
        })
    }
}

/// Plays one seed; true if every client always believed the truth.
fn play(seed: u64, broken: bool) -> bool {
    let mut rng = Rng::new(seed).fork("clients");
    let by_id = seed % 2 == 0;
    let topics: Vec<TopicName> = (0..5u8)
        .map(|t| match by_id {
            true => TopicName::Id([t + 1; 16]),
            false => TopicName::Name(format!("topic-{t}").into()),
        })
        .collect();
    let keys: Vec<(usize, i32)> = (0..5).flat_map(|t| (0..6).map(move |p| (t, p))).collect();
    let limits = Limits {
        slots: 1 + rng.below(4) as usize,
        bytes: (20 + rng.below(60) as usize) * PARTITION_BYTES,
    };
    let truth = Truth {
        marks: marks(0),
        error: false,
    };
    let mut world = World {
        topics,
        truth: keys.iter().map(|key| (*key, truth)).collect(),
        cache: Cache::new(limits, 0, 1),
        now_ms: 0,
        words: Rng::new(seed).fork("ids"),
        sessions_lost: 0,
        rounds: 0,
        quiet: 0,
    };
    let mut clients: Vec<Model> = (0..4)
        .map(|_| Model {
            uses_ids: by_id,
            ..Model::default()
        })
        .collect();
    for _ in 0..400 {
        world.drift(&mut rng);
        // Long pauses make sessions stale.
        if rng.below(50) == 0 {
            world.now_ms += STALE_MS;
        }
        let client = &mut clients[rng.below(4) as usize];
        for key in &keys {
            match rng.below(30) {
                0 => {
                    client.wanted.insert(*key, want(0));
                }
                1 => {
                    client.wanted.remove(key);
                }
                // It has read what there is.
                2..=9 => {
                    let end = world.truth[key].marks.high_watermark;
                    if let Some(want) = client.wanted.get_mut(key) {
                        want.offset = end;
                    }
                }
                _ => {}
            }
        }
        let lost = world.sessions_lost;
        world.fetch(client, broken && rng.below(10) == 0);
        let answered =
            world.sessions_lost == lost && !(client.wanted.is_empty() && client.epoch == INITIAL_EPOCH);
        if answered && !world.agrees(client) {
            return false;
        }
    }
    assert!(
        world.rounds > 20 && world.quiet > 20,
        "seed {seed}: {} rounds, {} quiet",
        world.rounds,
        world.quiet
    );
    true
}

#[test]
fn clients_believe_what_the_logs_say() {
    let seeds = std::env::var("TURGO_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = seeds.map_or_else(|| (0..200).collect(), |seed| vec![seed]);
    for seed in seeds {
        assert!(play(seed, false), "seed {seed}: a client believes what is not so");
    }
}

#[test]
fn an_answer_that_is_noted_but_not_told_is_found() {
    assert!((0..50).any(|seed| !play(seed, true)));
}
