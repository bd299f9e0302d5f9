//! The child supervisor: launching, streams, and how ends are told.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "these are tests"
)]

mod guarded_host;

use std::time::Duration;

use a2e_core::children::{
    Child, Command, ENV_DEFAULT, Exit, Signal, StdinMode, Supervisor, SupervisorConfig,
};
use a2e_core::protocol::ErrorCode;
use guarded_host::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None }
}

fn signal(signal: i32) -> Exit {
    Exit { code: None, signal: Some(signal) }
}

#[tokio::test]
async fn r37_levels_are_told_and_a_missing_guard_is_an_error() {
    assert_eq!(supervisor().isolation().as_str(), "guard");
    assert_eq!(group_supervisor().isolation().to_string(), "group");
    let guard = Some("/nonexistent/guard".into());
    let error = Supervisor::new(SupervisorConfig { guard, ..SupervisorConfig::default() });
    assert!(error.unwrap_err().message().contains("/nonexistent/guard"));
}

#[tokio::test]
async fn output_and_exit_code_arrive_at_both_levels() {
    for supervisor in [supervisor(), group_supervisor()] {
        let script = "echo out; echo err >&2; exit 7";
        let mut child = supervisor.spawn(sh(script)).await.unwrap();
        assert_eq!(text(child.stdout.take()).await, "out\n");
        assert_eq!(text(child.stderr.take()).await, "err\n");
        assert_eq!(child.gone().await, code(7));
        assert_eq!((child.exit(), supervisor.live()), (Some(code(7)), 0));
    }
}

#[tokio::test]
async fn the_pid_is_the_programs_own_and_leads_its_group() {
    for supervisor in [supervisor(), group_supervisor()] {
        let script = "echo $$ $(cut -d' ' -f5 /proc/$$/stat)";
        let mut child = supervisor.spawn(sh(script)).await.unwrap();
        let expected = format!("{0} {0}\n", child.pid);
        assert_eq!(text(child.stdout.take()).await, expected);
    }
}

#[tokio::test]
async fn death_by_signal_is_told_with_its_number() {
    for supervisor in [supervisor(), group_supervisor()] {
        // Not 1 or 2, which the tests may be run with ignored, and which programs inherit so.
        for number in [9, 10, 14, 34, 64] {
            let script = format!("kill -{number} $$");
            let child = supervisor.spawn(sh(&script)).await.unwrap();
            let exit = timeout(SECOND, child.wait()).await.unwrap();
            assert_eq!(exit, signal(number), "{}", supervisor.isolation());
        }
    }
}

async fn launch_error(supervisor: &Supervisor, command: Command) -> (String, Option<i64>) {
    let error = supervisor.spawn(command).await.unwrap_err();
    assert_eq!(*error.code(), ErrorCode::RuntimeError);
    (error.message().to_owned(), error.detail().get("errno").and_then(serde_json::Value::as_i64))
}

#[tokio::test]
async fn what_cannot_be_started_is_a_launch_error_with_the_systems_text() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let gone = folder.path().join("gone");
    for supervisor in [supervisor(), group_supervisor()] {
        let (text, errno) = launch_error(&supervisor, Command::new("no-such-program")).await;
        let expected = "cannot start `no-such-program`: No such file or directory (os error 2)";
        assert_eq!((text.as_str(), errno), (expected, Some(2)));

        let (text, errno) = launch_error(&supervisor, Command::new(&plain)).await;
        assert!(text.contains("Permission denied"), "{text}");
        assert_eq!(errno, Some(13));

        for cwd in [&gone, &plain] {
            let mut command = sh("true");
            command.cwd = Some(cwd.clone());
            let (text, _) = launch_error(&supervisor, command).await;
            assert!(text.starts_with("cannot enter `"), "{text}");
        }
        for bad in [
            Command::new("a\0b"),
            sh("true\0"),
            sh("true").env("A\0", ""),
            sh("true").args(["x".repeat(200_000)]),
            Command::new(""),
        ] {
            launch_error(&supervisor, bad).await;
        }
        until(SECOND, "slots return", || supervisor.live() == 0).await;
    }
}

#[tokio::test]
async fn a_program_that_is_no_guard_is_a_launch_error() {
    for guard in ["/bin/true", "/bin/sh"] {
        let config = SupervisorConfig { guard: Some(guard.into()), ..SupervisorConfig::default() };
        let supervisor = Supervisor::new(config).unwrap();
        let error = timeout(SECOND, supervisor.spawn(sh("true"))).await.unwrap().unwrap_err();
        assert!(error.message().contains("guard"), "{error}");
    }
}

#[tokio::test]
async fn the_program_starts_in_its_folder_and_relative_programs_are_found_there() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("/bin/pwd", real.join("where")).unwrap();
    for supervisor in [supervisor(), group_supervisor()] {
        let mut command = Command::new("./where");
        command.cwd = Some(real.clone());
        let mut child = supervisor.spawn(command).await.unwrap();
        assert_eq!(text(child.stdout.take()).await.trim_end(), real.to_str().unwrap());
    }
}

#[tokio::test]
async fn a_name_is_looked_up_in_the_childs_path_and_skips_what_cannot_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["first", "second"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("first").join("tool"), "not executable").unwrap();
    std::os::unix::fs::symlink("/bin/echo", at("second").join("tool")).unwrap();
    let path = format!("{}:{}:/nonexistent", at("first").display(), at("second").display());
    for supervisor in [supervisor(), group_supervisor()] {
        let command = Command::new("tool").args(["a b", "$HOME", ""]).env("PATH", &path);
        let mut child = supervisor.spawn(command).await.unwrap();
        assert_eq!(text(child.stdout.take()).await, "a b $HOME \n");
        let (_, errno) = launch_error(&supervisor, Command::new("sh").env("PATH", &path)).await;
        assert_eq!(errno, Some(2));
        let only = at("first").into_os_string();
        let (_, errno) = launch_error(&supervisor, Command::new("tool").env("PATH", only)).await;
        assert_eq!(errno, Some(13));
    }
}

#[tokio::test]
async fn no_variable_of_the_command_reaches_into_the_guard() {
    let supervisor = supervisor();
    let command = Command::new("cat").env("LD_PRELOAD", "/nonexistent.so").env("A2E_GUARD", "1");
    let mut child = supervisor.spawn(command).await.unwrap();
    let guard = stat(pid(&child).as_raw()).unwrap().1;
    let environment = std::fs::read_to_string(format!("/proc/{guard}/environ")).unwrap();
    assert!(!environment.contains("LD_PRELOAD") && !environment.contains("CARGO"), "{environment}");
    drop(child.stdin.take());
    let complaints = text(child.stderr.take()).await;
    assert_eq!(complaints.lines().count(), 1, "of the program's own loader: {complaints}");
}

#[tokio::test]
async fn r36_the_environment_is_the_named_variables_and_the_callers() {
    // Something that this test was itself given, under whatever runner.
    let (given, value) = std::env::vars()
        .find(|(name, _)| !ENV_DEFAULT.contains(&name.as_str()) && name != "_" && name != "PWD")
        .unwrap_or_default();
    for supervisor in [supervisor(), group_supervisor()] {
        let mut command = Command::new("env").env("A", "line\nbreak").env("HOME", "/h");
        let mut child = supervisor.spawn(command.clone()).await.unwrap();
        let without = text(child.stdout.take()).await;
        command.env_pass.push(given.clone());
        let mut child = supervisor.spawn(command).await.unwrap();
        let text = text(child.stdout.take()).await;
        assert!(text.contains("A=line\nbreak\n") && text.contains("HOME=/h\n"), "{text}");
        let given = format!("{given}={value}\n");
        assert!(given.len() < 3 || text.contains(&given), "{text}");
        assert!(given.len() < 3 || !without.contains(&given), "{without}");
        for line in without.replace("line\nbreak", "").lines() {
            let name = line.split('=').next().unwrap();
            assert!(name == "A" || ENV_DEFAULT.contains(&name), "{line}");
        }
    }
}

#[tokio::test]
async fn stdin_reaches_the_program_and_its_end_too() {
    for supervisor in [supervisor(), group_supervisor()] {
        let mut child = supervisor.spawn(Command::new("cat")).await.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        drop(stdin);
        assert_eq!(text(child.stdout.take()).await, "hello");
        assert_eq!(child.wait().await, code(0));

        let mut command = Command::new("cat");
        command.stdin = StdinMode::Null;
        let child = supervisor.spawn(command).await.unwrap();
        assert!(child.stdin.is_none());
        assert_eq!(timeout(SECOND, child.wait()).await.unwrap(), code(0));
    }
}

#[tokio::test]
async fn r20_a_slow_reader_holds_the_program_back() {
    let supervisor = supervisor();
    let script = "i=0; while [ $i -lt 4096 ]; do printf %1024s x; i=$((i+1)); echo $i >&2; done";
    let mut child = supervisor.spawn(sh(script)).await.unwrap();
    let mut progress = child.stderr.take().unwrap();
    let mut seen = vec![0; 1 << 16];
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = progress.read(&mut seen).await.unwrap();
    let lines = String::from_utf8_lossy(&seen[..count]).lines().count();
    assert!((32..=128).contains(&lines), "the pipe holds 64 KiB, written: {lines} KiB");
    assert_eq!(child.exit(), None);

    let rest = tokio::spawn(async move {
        let mut rest = String::new();
        progress.read_to_string(&mut rest).await.unwrap();
        rest
    });
    assert_eq!(text(child.stdout.take()).await.len(), 4 << 20);
    assert_eq!(child.wait().await, code(0));
    assert!(rest.await.unwrap().ends_with("4096\n"));
}

#[tokio::test]
async fn r35_the_end_is_noticed_at_once_by_everyone_who_waits() {
    for supervisor in [supervisor(), group_supervisor()] {
        let child = supervisor.spawn(Command::new("cat")).await.unwrap();
        let start = std::sync::Mutex::new(None);
        let waits = async {
            let both = tokio::join!(child.wait(), child.wait(), child.gone());
            (both, start.lock().unwrap().map(|at: tokio::time::Instant| at.elapsed()))
        };
        let kills = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            *start.lock().unwrap() = Some(tokio::time::Instant::now());
            nix::sys::signal::kill(pid(&child), nix::sys::signal::Signal::SIGKILL).unwrap();
        };
        let ((exits, took), ()) = tokio::join!(waits, kills);
        assert_eq!(exits, (signal(9), signal(9), signal(9)));
        assert!(took.unwrap() < Duration::from_millis(100), "{took:?}");
    }
}

#[tokio::test]
async fn signals_reach_the_whole_group() {
    for supervisor in [supervisor(), group_supervisor()] {
        let script = "trap 'wait; exit 3' TERM; \
                      (trap 'echo sub; exit' TERM; echo up; while :; do sleep 0.01; done) & wait";
        let mut child = supervisor.spawn(sh(script)).await.unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut up = [0; 3];
        out.read_exact(&mut up).await.unwrap();
        child.signal(Signal::Terminate).unwrap();
        assert_eq!(text(Some(out)).await, "sub\n");
        assert_eq!(child.wait().await, code(3));
        assert_eq!(child.signal(Signal::Kill).unwrap_err().code().as_str(), "proc_dead");

        for (sent, number) in [(Signal::Interrupt, 2), (Signal::Kill, 9)] {
            // The python of a test run in the background would inherit SIGINT ignored.
            let script = "import signal as s, time; s.signal(2, s.SIG_DFL); print(1, flush=True); \
                          time.sleep(60)";
            let command = Command::new("python3").args(["-c", script]);
            let mut child = supervisor.spawn(command).await.unwrap();
            child.stdout.as_mut().unwrap().read_u8().await.unwrap();
            child.signal(sent).unwrap();
            assert_eq!(timeout(SECOND, child.wait()).await.unwrap(), signal(number));
        }
    }
}

#[tokio::test]
async fn the_program_starts_with_no_signal_blocked_or_ignored() {
    let supervisor = supervisor();
    let mut child = supervisor.spawn(sh("grep -E 'Sig(Blk|Ign)' /proc/self/status")).await.unwrap();
    for line in text(child.stdout.take()).await.lines() {
        let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        // 32 and 33 belong to the C library.
        assert_eq!(set & !(0b11 << 31), 0, "{line}");
    }
}

#[tokio::test]
async fn the_program_inherits_no_descriptor_but_its_stdio() {
    // `dup` makes one that every child of this process inherits.
    let _open = nix::unistd::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
    let supervisor = supervisor();
    let mut child = supervisor.spawn(sh("exec ls /proc/self/fd")).await.unwrap();
    let open = text(child.stdout.take()).await;
    assert_eq!(open, "0\n1\n2\n3\n", "3 is the folder that `ls` reads");
}

#[tokio::test]
async fn r20_more_children_than_allowed_are_refused() {
    let config =
        SupervisorConfig { guard: Some(guarded()), max_children: 2, ..SupervisorConfig::default() };
    let supervisor = Supervisor::new(config).unwrap();
    let children: Vec<Child> = [
        supervisor.spawn(Command::new("cat")).await.unwrap(),
        supervisor.spawn(Command::new("cat")).await.unwrap(),
    ]
    .into();
    let error = supervisor.spawn(Command::new("cat")).await.unwrap_err();
    assert_eq!((error.code().as_str(), supervisor.live()), ("proc_limit", 2));
    drop(children);
    until(SECOND, "slots return", || supervisor.live() == 0).await;
    supervisor.spawn(Command::new("true")).await.unwrap().wait().await;
}

fn pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.pid).unwrap())
}
