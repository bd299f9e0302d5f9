//! Requests come to a session's table and leave it. None stays, and its bytes come back.

use std::sync::Arc;

use checker::thread;

use super::explore;
use crate::request::{InFlight, Request};

fn check_empty(in_flight: &InFlight) {
    assert_eq!(in_flight.len(), 0, "a request that has ended is in no table");
    assert_eq!(in_flight.bytes(), 0, "its bytes are not counted");
}

/// A request is listed by two threads while it ends, and is looked for.
pub fn listed_while_it_ends() {
    explore("listed while it ends", || {
        let in_flight = Arc::new(InFlight::default());
        let request = Request::new("1", &in_flight);
        let (ended, listed) = (Arc::clone(&request), Arc::clone(&request));
        let ended = thread::spawn(move || assert!(ended.end()));
        let listed = thread::spawn(move || listed.list());
        request.list();
        for found in in_flight.find("1").into_iter().chain(in_flight.all()) {
            assert!(Arc::ptr_eq(&found, &request));
        }
        ended.join().expect("it runs through");
        listed.join().expect("it runs through");
        check_empty(&in_flight);
    });
}

/// The session ends all that is listed while one request is listed and another ends.
pub fn all_ended_while_one_comes() {
    explore("all ended while one comes", || {
        let in_flight = Arc::new(InFlight::default());
        let (first, second) = (Request::new("1", &in_flight), Request::new("2", &in_flight));
        first.list();
        let runner = Arc::clone(&first);
        let runner = thread::spawn(move || runner.end());
        let (table, reader) = (Arc::clone(&in_flight), Arc::clone(&second));
        let end_all = thread::spawn(move || {
            let mut all = table.all();
            // The order of a table is chance; a model has none.
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all.iter().filter(|it| it.end()).count()
        });
        reader.list();
        let ended = usize::from(runner.join().expect("it runs through"))
            + end_all.join().expect("it runs through")
            + usize::from(second.end());
        assert_eq!(ended, 2, "each ends once");
        check_empty(&in_flight);
    });
}

/// A client uses an id again as soon as the table does not know it.
pub fn id_used_again() {
    explore("id used again", || {
        let in_flight = Arc::new(InFlight::default());
        let (old, new) = (Request::new("1", &in_flight), Request::new("1", &in_flight));
        old.list();
        let ender = thread::spawn(move || assert!(old.end()));
        if in_flight.find("1").is_none() {
            new.list();
            let found = in_flight.find("1");
            assert!(found.is_some_and(|it| Arc::ptr_eq(&it, &new)), "the later one stays");
        }
        ender.join().expect("it runs through");
        assert!(new.end());
        check_empty(&in_flight);
    });
}
