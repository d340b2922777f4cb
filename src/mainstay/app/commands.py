"""Commands that need the lease, as one table: the CLI performs them itself when the lease is free, else asks its owner.

A request stands in state under its id and is performed once; the answer stands beside it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from mainstay.app import apply as applying
from mainstay.app import backfills, erasures, repeats
from mainstay.app.mapping import values_of
from mainstay.app.people import People, must_be_clear, named_in
from mainstay.app.place import Place, applied_record, whoami
from mainstay.app.profile import profile_dataset
from mainstay.app.restore import mark_later
from mainstay.app.snapshots import take_snapshot
from mainstay.app.stores import is_leased, open_state
from mainstay.app.wiring import Works, own
from mainstay.core.clock import HOUR, SECOND, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import LeaseOwned, MainstayError, Refused, StoreBusy
from mainstay.core.ids import keyed_hash, new_id
from mainstay.core.ports import State, Write
from mainstay.core.records import Request, Response, Seal, Suppressed
from mainstay.pipelines import archive, archive_erase, erase, history, quarantine, retention, sets, settling
from mainstay.pipelines.orphans import adopt_orphans
from mainstay.pipelines.run import Runner
from mainstay.pipelines.suppression import typed_person
from mainstay.serving.personal import MASK, Personal
from mainstay.store import snapshot
from mainstay.store.shelf import Shelf

Body = dict[str, Any]
POLL_S = 0.05
SEAL_S = 20.0
"""How long workers may take to seal the segments that they write."""
SCRUB_S = 10.0
"""How long readers may keep a store's log from being emptied."""
RESPONSE_US = 1 * HOUR
"""How long an answer waits for whoever asked."""


def _run(works: Works, args: Body) -> Body:
    desk = works.desk
    names = args.get("datasets") or desk.integration.parents_first()
    quarantine.need_datasets(desk, names)  # before the first effect
    results = []
    for name in names:
        runner = Runner(desk, desk.integration.datasets[name])
        if not args.get("dry_run"):
            runner.settle()
        results.append(msgspec.to_builtins(runner.run(dry=bool(args.get("dry_run")))))
    if not args.get("dry_run"):
        adopt_orphans(desk)
        for one in desk.live_feature_sets():
            if not one.complete:
                sets.build(desk, one.digest)
    return {"results": results}


def _apply(works: Works, args: Body) -> Body:
    new = applying.read(works)
    planned = applying.plan(works, new)
    expected = args.get("digest")
    if expected is not None and expected != new.digest:
        raise Refused("the file changed since its plan was shown", mend="run `mainstay apply` again")
    return {"done": applying.perform(works, new, planned)}


def _plan(works: Works, args: Body) -> Body:
    del args
    new = applying.read(works)
    return {"digest": new.digest, **msgspec.to_builtins(applying.plan(works, new))}


def _quarantine_list(works: Works, args: Body) -> Body:
    rows = quarantine.list_rows(
        works.desk,
        dataset=args.get("dataset"),
        state=args.get("state", "quarantined"),
        key=args.get("key"),
        before=(int(args["before"][0]), int(args["before"][1])) if args.get("before") else None,
        limit=int(args.get("limit", 100)),
    )
    personal = Personal(works.desk.integration)
    return {"rows": [_shown(works, one, args, personal) for one in rows]}


def _quarantine_show(works: Works, args: Body) -> Body:
    return {"row": _shown(works, quarantine.row(works.desk, args["id"]), args, Personal(works.desk.integration))}


def _shown(works: Works, row: quarantine.QuarantinedRow, args: Body, personal: Personal) -> Body:
    """The row; where `args` ask for it, without the values of columns marked `pii`."""
    told: Body = msgspec.to_builtins(row)
    if not args.get("masked"):
        return told
    hidden = [name for name in row.raw if not personal.raw_shown(row.dataset, name)]
    told["raw"] |= dict.fromkeys(hidden)
    if not personal.key_shown(works.desk.integration.datasets[row.dataset].key_names):
        told["key"] = None
        hidden.append("key")
    return told | ({MASK: sorted(hidden)} if hidden else {})


def _quarantine_replay(works: Works, args: Body) -> Body:
    desk, ids = works.desk, args.get("ids") or None
    every = list(desk.integration.datasets)
    names = [args["dataset"]] if args.get("dataset") else [one for one in every if desk.landing.numbers(one)] or every
    if args.get("key") and args.get("dataset"):
        quarantine.need_key(desk, args["dataset"], args["key"])
    if ids:
        names = sorted({quarantine.parse_id(one)[0] for one in ids})
    quarantine.need_landed(desk, names)  # before the first effect
    results = {
        name: msgspec.to_builtins(quarantine.replay(desk, dataset=name, ids=ids, key=args.get("key"))) for name in names
    }
    return {"results": results}


def _quarantine_discard(works: Works, args: Body) -> Body:
    names = sorted({quarantine.parse_id(one)[0] for one in args["ids"]})
    quarantine.need_datasets(works.desk, names)  # before the first effect
    done = {}
    for name in names:
        done[name] = quarantine.discard_rows(works.desk, dataset=name, ids=args["ids"], reason=args["reason"])
    return {"discarded": done}


def _batch_release(works: Works, args: Body) -> Body:
    dataset, number, reason = args["dataset"], args["number"], args["reason"]
    through = args.get("through") or number
    released = settling.release_through(works.desk, dataset=dataset, number=number, through=through, reason=reason)
    return {"batches": msgspec.to_builtins(released)}


def _batch_discard(works: Works, args: Body) -> Body:
    batch = settling.discard_batch(works.desk, dataset=args["dataset"], number=args["number"], reason=args["reason"])
    return {"batch": msgspec.to_builtins(batch)}


def _erase(works: Works, args: Body) -> Body:
    key, reason = typed_person(works.desk, args["key"]), args["reason"]
    if not reason.strip():
        raise Refused("an erasure says why", mend="add --reason '...'")
    must_be_clear(works.desk, key)
    if args["key"] in reason or named_in(works.desk, reason, key):
        raise Refused("the reason names the person, and reasons are kept", mend="say why without the key")
    return _erase_key(works, key, reason)


def _erase_key(works: Works, key: str, reason: str) -> Body:
    erased = erase.erase(works.desk, key, reason=reason, by=works.by)
    receipts = _erase_receipts(works, key)
    _forget_responses(works, key)
    backfills.forget(works, key)
    patiently(lambda: repeats.forget(works))
    works.desk.current.scrub()
    patiently(works.online.scrub)
    patiently(works.state.scrub)
    patiently(works.journal.scrub)
    snapshot.clear_left(works.place.home.root)  # what a killed backup or restore left holds the person too
    person = keyed_hash(works.desk.secret, key)
    told = {"erased": msgspec.to_builtins(erased), "receipts": msgspec.to_builtins(receipts)}
    told |= _verify(works, {"key": key})
    return told | {"ledger": erasures.note(works, person)}


def erase_again(works: Works) -> int:
    """Erases people who were erased after a restored backup was made, as `restore` marked them. Returns how many.

    To be done before anything is answered. Their keys are nowhere written down: they are found by their keyed hashes.
    """
    mark_later(works.place.home)
    marked = Shelf(works.state, "erase_again", Suppressed).all()
    if not marked:
        return 0
    sets.recover(works.desk)  # a restored home has no current yet, and erasing counts what is in it
    for name in works.desk.integration.datasets:
        if works.desk.current.last_applied(name) < works.desk.dataset_state(name).published:
            raise Refused(
                f"people are to be erased again, and current of {name} could not be made yet",
                mend="see the log of `mainstay up`; nothing is answered before they are erased",
            )

    def named(text: str) -> bool:
        return keyed_hash(works.desk.secret, text) in marked

    keys = erase.present(works.desk, named)
    keys |= archive_erase.people(works.journal, works.history, People(works.desk).texts_of, named)
    for key in sorted(keys):
        _erase_key(works, key, marked[keyed_hash(works.desk.secret, key)].reason)
    gone = [Write(space="erase_again", name=name, body=None) for name in marked]
    works.audit("erase_again", "people of a restored backup", {"people": len(marked), "found": len(keys)}, gone)
    return len(marked)


def patiently(scrub: Callable[[], None]) -> None:
    """Empties a store's log, waiting for readers to let go of it. Raises StoreBusy when they do not."""
    deadline = time.monotonic() + SCRUB_S
    while True:
        try:
            scrub()
        except StoreBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return


def _naming(works: Works, key: str) -> list[str]:
    """Answers to commands that name the key and were not fetched."""
    return [item.name for item in works.state.scan("response") if named_in(works.desk, item.body.decode(), key)]


def _forget_responses(works: Works, key: str) -> None:
    gone = [Write(space="response", name=name, body=None) for name in _naming(works, key)]
    works.state.commit(gone, token=works.lease.token)


def _erase_receipts(works: Works, key: str) -> archive_erase.Erased:
    """Erases in journal and history. Segments that a live worker writes are sealed by it first, on request."""
    at_us, people = works.clock.now_us(), People(works.desk)
    works.journal.seal()
    seals = Shelf(works.state, "seal", Seal)
    seals.put("wanted", Seal(at_us=at_us), token=works.lease.token)
    deadline = time.monotonic() + SEAL_S
    while True:
        done = archive_erase.erase_receipts(
            works.journal, works.history, key_matches=lambda receipt: people.names(receipt, key), at_us=at_us
        )
        if not done.open:
            return done
        if time.monotonic() > deadline:
            raise Refused(
                f"{counted(len(done.open), 'journal segment is', 'journal segments are')} still being written "
                "and could not be erased",
                mend="run the same command again; what is erased stays erased",
            )
        time.sleep(POLL_S)


def _verify(works: Works, args: Body) -> Body:
    key, people = typed_person(works.desk, args["key"]), People(works.desk)
    traces = list(erase.traces(works.desk, key))
    traces += archive_erase.receipt_traces(
        works.journal, works.history, key_matches=lambda receipt: people.names(receipt, key)
    )
    traces += [f"state: backfill {one.id}" for one in backfills.naming(works, key)]
    traces += [f"state: answer {name} to a command" for name in _naming(works, key)]
    kept = repeats.naming(works, key)
    traces += [f"repeats: {counted(kept, 'answer')} to requests with an Idempotency-Key"] if kept else []
    return {"traces": traces, "clean": not traces}


def _erase_again(works: Works, args: Body) -> Body:
    del args
    return {"people": erase_again(works)}


def _flush(works: Works, args: Body) -> Body:
    del args
    return flush(works)


def flush(works: Works, *, at_least: int = 0, most: int = 100_000) -> Body:
    """Landing and journal to history; of the journal, `most` records."""
    desk = works.desk
    rows = {name: history.flush(desk, name, at_least=at_least) for name in desk.integration.datasets}
    keep = desk.integration.settings.retention_us.get("journal", archive.RETENTION_US)
    archived = archive.archive_journal(
        works.journal, works.history, clock=works.clock, limit_rows=most, retention_us=keep
    )
    return {"rows": rows, "journal": msgspec.to_builtins(archived)}


def trim(works: Works) -> Body:
    """What is past its retention goes, from every role that has one; journal segments go with `flush`."""
    desk = works.desk
    now = works.clock.now_us()
    return {
        "landing": {name: history.trim_landing(desk, name, now) for name in desk.integration.datasets},
        "quarantine": {name: retention.trim_quarantine(desk, name, now) for name in desk.integration.datasets},
        "history": {
            **{name: retention.trim_history(desk, name, now) for name in (archive.RECEIPTS, archive.EVENTS)},
            **{name: retention.trim_versions(desk, name, now) for name in desk.integration.datasets},
        },
        "responses": forget_answers(works),
    }


def _retire_sets(works: Works, args: Body) -> Body:
    del args
    return {"retired": applying.retire_unneeded(works)}


def _profile(works: Works, args: Body) -> Body:
    found: Body = msgspec.to_builtins(profile_dataset(works.desk, str(args["dataset"]), pin=bool(args.get("pin"))))
    return found


COMMANDS: dict[str, Callable[[Works, Body], Body]] = {
    "run": _run,
    "profile": _profile,
    "map": lambda works, args: values_of(works.desk, args),
    "plan": _plan,
    "apply": _apply,
    "quarantine.list": _quarantine_list,
    "quarantine.show": _quarantine_show,
    "quarantine.replay": _quarantine_replay,
    "quarantine.discard": _quarantine_discard,
    "batch.release": _batch_release,
    "batch.discard": _batch_discard,
    "erase": _erase,
    "erase.verify": _verify,
    "erase.again": _erase_again,
    "flush": _flush,
    "features.retire": _retire_sets,
    "backup.snapshot": take_snapshot,
    "backfill": backfills.command,
    "backfill.cancel": backfills.cancel,
}


class LoopAway(Refused):
    """Nobody would perform the command, or not in time: nothing was left to be done later."""


def ask(place: Place, command: str, args: Body, *, timeout_us: int = 60 * SECOND) -> Body:
    """Performs a command: here, when the lease is free; else by its owner, waiting up to `timeout_us`.

    Raises whatever the command raised, and LeaseOwned when the owner did not answer in time: the request then still
    stands and is performed once.
    """
    by = whoami(f"mainstay {command.replace('.', ' ')}")
    try:
        with own(place, by) as works:
            if applied_record(works.state) is not None:
                sets.recover(works.desk)
                erase_again(works)
            with works.trace.span(f"command {command}"):
                return COMMANDS[command](works, args)
    except LeaseOwned as owned:
        request = Request(id=new_id("req"), command=command, args=args, by=by, at_us=SystemClock().now_us())
        return ask_owner(place, request, owned, timeout_us)


def ask_loop(place: Place, command: str, args: Body, *, timeout_us: int) -> Body:
    """Has the owner of the lease perform a command that only reads; never takes the lease itself.

    Raises whatever the command raised, and LoopAway when nobody answers in time: then the request does not stand.
    """
    request = Request(
        id=new_id("req"), command=command, args=args, by=whoami("the status page"), at_us=SystemClock().now_us()
    )
    with contextlib.closing(open_state(place.home)) as state:
        need_loop(place, state, "quarantine is read by it")
    try:
        return ask_owner(place, request, LeaseOwned("the loop"), timeout_us)
    except LeaseOwned:
        with contextlib.closing(open_state(place.home)) as state:
            state.commit([Write(space="request", name=request.id, body=None)])
        raise LoopAway("the loop is busy with a run and did not answer in time", mend="try again in a moment") from None


def need_loop(place: Place, state: State, why: str) -> None:
    """Raises LoopAway where nobody owns the lease. `why`: what the loop is wanted for."""
    if not locked(place, state):
        raise LoopAway(f"the loop does not run, and {why}", mend="mainstay up")


def ask_owner(place: Place, request: Request, owned: LeaseOwned, timeout_us: int) -> Body:
    """Leaves a request to the lease's owner and waits for the answer. Raises as `ask` does."""
    state = open_state(place.home)
    try:
        Shelf(state, "request", Request).put(request.id, request)
        answers = Shelf(state, "response", Response)
        deadline = time.monotonic() + timeout_us / SECOND
        while time.monotonic() < deadline:
            found = answers.get(request.id)
            if found is not None:
                state.commit([answers.remove(request.id)])  # it may name people
                return _body_of(found)
            if not locked(place, state):
                break
            time.sleep(POLL_S)
    finally:
        state.close()
    raise LeaseOwned(
        owned.owner, mend=f"it did not answer in time; request {request.id} stands and is performed once it can be"
    )


def locked(place: Place, state: State) -> bool:
    """Whether somebody still owns the lease."""
    import fcntl

    if place.home.stores is not None:
        return is_leased(state)
    handle = os.open(place.home.lease, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _body_of(response: Response) -> Body:
    if response.ok:
        return response.body
    error = Refused(response.error, mend=response.mend)
    error.exit_code = response.exit_code
    raise error


def perform_requests(works: Works) -> int:
    """Performs the requests that stand in state; returns how many. Each is performed once, whatever it raises."""
    requests = Shelf(works.state, "request", Request)
    answers = Shelf(works.state, "response", Response)
    done = 0
    for name, request in requests.all().items():
        response = _answer(works, request)
        works.state.commit([answers.write(name, response), requests.remove(name)], token=works.lease.token)
        if request.command.startswith("erase"):  # the request named the person
            with contextlib.suppress(StoreBusy):
                patiently(works.state.scrub)
        done += 1
    return done


def forget_answers(works: Works) -> int:
    """Removes answers that nobody fetched in an hour. Returns how many."""
    answers = Shelf(works.state, "response", Response)
    old = [name for name, one in answers.all().items() if one.at_us < works.clock.now_us() - RESPONSE_US]
    works.state.commit([answers.remove(name) for name in old], token=works.lease.token)
    return len(old)


def _answer(works: Works, request: Request) -> Response:
    performer = COMMANDS.get(request.command)
    if performer is None:
        return _failed(works, request, f"this process does not know the command {request.command}", "", 1)
    mine, works.by = works.by, request.by
    try:
        with works.trace.span(f"command {request.command}"):
            body = performer(works, request.args)
            # An answer stands for an hour from when it was given, however long it took.
            return Response(id=request.id, ok=True, body=body, at_us=works.clock.now_us())
    except MainstayError as error:
        sentence = f"{error.where}: {error.sentence}" if error.where else error.sentence
        return _failed(works, request, sentence, error.mend, error.exit_code)
    except Exception as error:  # noqa: BLE001 - a door: a request that kept raising would stop the loop for ever
        sentence = f"Mainstay itself failed: {type(error).__name__}"
        return _failed(works, request, sentence, "report it", 70)
    finally:
        works.by = mine


def _failed(works: Works, request: Request, sentence: str, mend: str, exit_code: int) -> Response:
    now_us = works.clock.now_us()
    return Response(id=request.id, ok=False, error=sentence, mend=mend, exit_code=exit_code, at_us=now_us)
