//! What the kernel says of a process.

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    id: u32,
}

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self { id }
    }

    /// Sends `signal`.
    ///
    /// # Panics
    /// The process is gone.
    pub fn signal(self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw).expect("an id of a process");
        kill_process(id, signal).expect("the process is there");
    }

    /// Bytes of memory that are resident (proc(5), `VmRSS`).
    #[must_use]
    pub fn resident_bytes(self) -> u64 {
        self.status_kilobytes("VmRSS:") * 1024
    }

    /// The most bytes that were ever resident (proc(5), `VmHWM`).
    #[must_use]
    pub fn most_resident_bytes(self) -> u64 {
        self.status_kilobytes("VmHWM:") * 1024
    }

    /// How many file descriptors are open.
    #[must_use]
    pub fn descriptors(self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id));
        folder.expect("the process is there").count()
    }

    /// What its file descriptors are of (proc_pid_fd(5)), such as `anon_inode:[io_uring]`.
    #[must_use]
    pub fn open_files(self) -> Vec<String> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id));
        let links = folder.expect("the process is there").filter_map(Result::ok);
        // One that was closed meanwhile is of nothing.
        let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        targets.map(|target| target.display().to_string()).collect()
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/task", self.id));
        folder.expect("the process is there").count()
    }

    /// The number of the thread of this name.
    ///
    /// # Panics
    /// There is no such thread.
    #[must_use]
    pub fn thread(self, name: &str) -> i32 {
        self.numbers(name).next().expect("a thread of that name")
    }

    /// How many threads of this name there are.
    #[must_use]
    pub fn threads_called(self, name: &str) -> usize {
        self.numbers(name).count()
    }

    /// The numbers of the threads of this name.
    fn numbers(self, name: &str) -> impl Iterator<Item = i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id));
        let tasks = tasks.expect("the process is there").filter_map(Result::ok);
        let is_it = move |task: &std::fs::DirEntry| {
            let own = std::fs::read_to_string(task.path().join("comm"));
            own.is_ok_and(|own| own.trim_end() == name)
        };
        let number = |task: std::fs::DirEntry| task.file_name().to_string_lossy().parse();
        tasks.filter(is_it).map(move |task| number(task).expect("a number"))
    }

    /// On how many cores the thread of this name may run (proc_pid_status(5), `Cpus_allowed`).
    ///
    /// # Panics
    /// There is no such thread.
    #[must_use]
    pub fn allowed_cores(self, thread: &str) -> u32 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id));
        let statuses = tasks
            .expect("the process is there")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        let named = |status: &String| status.starts_with(&format!("Name:\t{thread}\n"));
        let status = statuses.into_iter().find(named).expect("a thread of that name");
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"));
        let digits = mask.expect("a known key").chars().filter_map(|digit| digit.to_digit(16));
        digits.map(u32::count_ones).sum()
    }

    fn status_kilobytes(self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a known key");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes")
    }
}
