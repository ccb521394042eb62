//! Comparing in a small size, with a gateway and the bare epoll echo as processes of their own.

use std::fs;
use std::time::Duration;

use tidegate_bench::compare::{
    Arguments, Bound, Contender, Contest, Metric, Of, Suite, Wanted, Work, compare, write_results,
};
use tidegate_bench::load::Pace;
use tidegate_bench::peers::Peer;
use tidegate_bench::server::gateway_program;

fn arguments() -> Arguments {
    Arguments { suite: Suite::Quick, rounds: 5, gateway: None, only: None, before: None, out: None }
}

fn contest(work: Work, against: Peer) -> Contest {
    Contest {
        work,
        tls: false,
        contenders: vec![Contender::Gateway, Contender::Peer(Peer::Epoll)],
        against: Contender::Peer(against),
        rounds: 6,
        time: Duration::ZERO,
        wanted: vec![Wanted {
            whom: Contender::Gateway,
            metric: Metric::CpuPerMessage,
            of: Of::Ratio,
            bound: Bound::AtMost(1000.0),
        }],
    }
}

#[test]
fn both_take_part_in_every_round_and_the_page_says_so() {
    let echo = Work::Echo { connections: 20, size: 100, seconds: 0.05, pace: Pace::Closed };
    let idle = Work::Idle { connections: 100, settle: 0.0 };
    let contests = vec![contest(echo, Peer::Epoll), contest(idle, Peer::Hold)];
    let report = compare(&arguments(), contests).unwrap();
    assert!(report.missing.is_empty(), "{report}");
    let [echo, idle] = &report.comparisons[..] else { panic!("{report}") };
    for comparison in [echo, idle] {
        assert!(comparison.left_out.is_empty(), "{report}");
        let names: Vec<_> = comparison.rows.iter().map(|row| &*row.server).collect();
        assert_eq!(names, ["tidegate", "epoll"]);
        // Time was up at once, and there were five all the same.
        assert!(comparison.rows.iter().all(|row| row.rounds == 5), "{report}");
    }
    let cpu = &echo.rows[0].figures[0];
    assert_eq!(cpu.metric, Metric::CpuPerMessage);
    assert!(cpu.value.median > 0.0 && cpu.ratio.unwrap().median > 0.0, "{report}");
    // Nothing is compared with itself, and bytes have no ratio.
    assert!(echo.rows[1].figures[0].ratio.is_none() && idle.rows[0].figures[0].ratio.is_none());
    assert!(echo.wanted[0].outcome.is_some() && idle.wanted[0].outcome.is_none());

    let folder = tempfile::tempdir().unwrap();
    write_results(&report, folder.path()).unwrap();
    let page = fs::read_to_string(folder.path().join("RESULTS.md")).unwrap();
    assert!(page.contains("| tidegate") && page.contains("- epoll: "), "{page}");
    let machine = &report.machine;
    for known in [&machine.date, &machine.processor, &machine.kernel] {
        assert!(page.contains(known), "{page}");
    }
    let bound = page.lines().find(|line| line.contains("to epoll, wanted at most 1000: "));
    assert!(bound.unwrap().ends_with(", reached"), "{page}");
    assert!(
        page.contains("wanted at most 1000: not known"),
        "the other has no such figure: {page}"
    );
    let plots = page.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')'));
    let plots: Vec<_> = plots.collect();
    assert_eq!(plots.len(), 2, "{page}");
    for plot in plots {
        assert!(fs::read_to_string(folder.path().join(plot)).unwrap().contains("tidegate"));
    }
}

#[test]
fn a_server_that_fails_drops_out_visibly() {
    // It answers no handshake.
    let mut contest = contest(
        Work::Echo { connections: 2, size: 1, seconds: 0.01, pace: Pace::Closed },
        Peer::Epoll,
    );
    contest.contenders.push(Contender::Peer(Peer::Hold));
    let report = compare(&arguments(), vec![contest]).unwrap();
    assert_eq!(report.comparisons[0].rows.len(), 2, "{report}");
    assert_eq!(report.comparisons[0].left_out[0].server, "hold");
    assert!(report.to_string().contains("hold dropped out: "), "{report}");
}

#[test]
fn a_gateway_that_fails_is_in_the_report_and_its_own_error() {
    let echo = Work::Echo { connections: 2, size: 1, seconds: 0.01, pace: Pace::Closed };
    let arguments = Arguments { gateway: Some("/no/such/tidegate".into()), ..arguments() };
    let report = compare(&arguments, vec![contest(echo, Peer::Epoll)]).unwrap();
    let [failure] = &report.gateway_failures()[..] else { panic!("{report}") };
    assert!(failure.contains("/no/such/tidegate did not start"), "{failure}");
    assert_eq!(report.comparisons[0].rows[0].server, "epoll");
    assert!(report.comparisons[0].wanted[0].outcome.is_none(), "{report}");
}

#[test]
fn another_build_is_all_that_a_change_is_compared_with() {
    let echo = Work::Echo { connections: 2, size: 1, seconds: 0.01, pace: Pace::Closed };
    let before = Some(gateway_program().unwrap());
    let contest = contest(echo, Peer::Epoll).with_before(6);
    let report = compare(&Arguments { before, ..arguments() }, vec![contest]).unwrap();
    let rows = &report.comparisons[0].rows;
    let names: Vec<_> = rows.iter().map(|row| &*row.server).collect();
    assert_eq!(names, ["tidegate", "before"], "{report}");
    assert_eq!(rows[0].rounds, 6, "all that were asked for: {report}");
    assert!(rows[0].figures[0].ratio.is_some(), "{report}");
}

#[test]
fn an_open_loop_has_the_generators_lateness_beside_it() {
    let pace = Pace::Open(2000.0);
    let echo = Work::Echo { connections: 10, size: 64, seconds: 0.05, pace };
    let report = compare(&arguments(), vec![contest(echo, Peer::Epoll)]).unwrap();
    for row in &report.comparisons[0].rows {
        let metrics: Vec<_> = row.figures.iter().map(|figure| figure.metric).collect();
        assert!(
            metrics.contains(&Metric::Lateness) && metrics.contains(&Metric::Unsent),
            "{report}"
        );
    }
}

#[test]
fn over_tls_it_is_the_same() {
    let against = Contender::Peer(Peer::Epoll);
    let echo = Work::Echo { connections: 20, size: 100, seconds: 0.05, pace: Pace::Closed };
    let handshakes = Work::Handshakes { burst: 20, bursts: 1 };
    let contests = [echo, handshakes].map(|work| Contest {
        contenders: vec![against],
        tls: true,
        rounds: 5,
        wanted: Vec::new(),
        ..contest(work, Peer::Epoll)
    });
    // Nobody starts it.
    let arguments = Arguments { gateway: Some("/nowhere".into()), ..arguments() };
    let report = compare(&arguments, contests.into()).unwrap();
    assert!(report.missing.is_empty(), "{report}");
    let [echo, handshakes] = &report.comparisons[..] else { panic!("{report}") };
    assert_eq!(echo.title, "echo: 20 connections, 100 B, TLS");
    assert_eq!(echo.rows[0].figures[0].metric, Metric::CpuPerMessage);
    assert!(echo.rows[0].description.contains("rustls"), "{report}");
    let metrics: Vec<_> = handshakes.rows[0].figures.iter().map(|it| it.metric).collect();
    assert!(metrics.contains(&Metric::FullHandshakes), "{report}");
    assert!(metrics.contains(&Metric::ResumedToRustls), "{report}");
}
