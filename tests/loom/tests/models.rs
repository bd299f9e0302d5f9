//! Every model, by name.

#![cfg(loom)]

use a2e_loom::models;

macro_rules! models {
    ($($room:ident: $($model:ident),+;)+) => {$(
        mod $room {
            $(#[test]
            fn $model() {
                super::models::$room::$model();
            })+
        }
    )+};
}

models! {
    request: says_lapses_or_ends, returns_or_ends, given_up_while_it_returns, hooks_run_once;
    permits: one_seat, one_place, one_place_while_a_run_returns, nested_places, stuck_or_returned,
        deeper_requests, paused_and_resumed, closed_and_swept, closed_while_one_waits, last_outer_place;
    listing: listed_while_it_ends, all_ended_while_one_comes, id_used_again;
    handover: two_writers, held_by_the_reader, handed_to_a_task, taken_over, lost_and_taken_over, closed;
}
