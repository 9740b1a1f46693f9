use super::*;
use crate::command::roster::{
    next,
    tests::{card, pinned},
};

#[test]
fn a_node_is_added_once() {
    let pinned = pinned();
    let mut other = card(4);
    other.id = card(1).id;

    let added = next(&pinned, &add::AddNode(card(4))).unwrap();
    let again = next(&pinned, &add::AddNode(card(1))).unwrap_err();
    let taken = next(&pinned, &add::AddNode(other)).unwrap_err();

    assert_eq!(added.nodes.last(), Some(&card(4)));
    assert!(again.to_string().contains("in the roster already"));
    assert!(taken.to_string().contains("never used"), "{taken}");
}

#[test]
fn a_node_is_removed_with_its_draining() {
    let pinned = pinned();
    let node = card(3).id;
    let mut roster = pinned.roster().clone();
    roster.drained.insert(node.clone());

    let edit = remove::RemoveNode(node.clone());
    crate::command::roster::Edit::apply(&edit, &mut roster).unwrap();
    let unknown = next(&pinned, &remove::RemoveNode(card(9).id)).unwrap_err();

    assert!(roster.node(&node).is_none() && roster.drained.is_empty());
    assert_eq!(reason(unknown), Reason::NodeUnknown);
}

#[test]
fn a_node_is_drained_and_not_drained_by_turns() {
    let pinned = pinned();
    let drain = |number, cancel| drain::DrainNode {
        node: card(number).id,
        cancel,
    };

    let drained = next(&pinned, &drain(3, false)).unwrap();
    let mut twice = drained.clone();
    let again = crate::command::roster::Edit::apply(&drain(3, false), &mut twice);
    crate::command::roster::Edit::apply(&drain(3, true), &mut twice).unwrap();

    assert!(drained.drained.contains(&card(3).id));
    assert!(again.unwrap_err().to_string().contains("drained already"));
    assert!(twice.drained.is_empty());
    let early = next(&pinned, &drain(3, true)).unwrap_err();
    assert!(early.to_string().contains("is not drained"), "{early}");
    for cancel in [false, true] {
        let unknown = next(&pinned, &drain(9, cancel)).unwrap_err();
        assert_eq!(reason(unknown), Reason::NodeUnknown);
    }
}

fn reason(error: CliError) -> Reason {
    let CliError::Client(error) = error else {
        panic!("{error}");
    };
    error.reason().unwrap()
}
