//! The tasks of docs/annotations.md and of recipes, as a reader would carry them out.

/// Each task of the page, with its title.
pub fn tasks(page: &str) -> Vec<(&str, &str)> {
    let tasks = page.split("\n## ").find(|part| part.starts_with("Tasks\n")).unwrap();
    tasks.split("\n### ").skip(1).map(|task| task.split_once('\n').unwrap()).collect()
}

/// The properties of a task's `--conf` lines.
pub fn properties(task: &str) -> impl Iterator<Item = (&str, &str)> {
    // Where the command goes on, the shell takes the end of the line for itself.
    let lines = task
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("--conf ")?.trim_end_matches(" \\")));
    // In quotes where a shell would split it.
    let words = lines.map(|line| {
        line.strip_prefix('\'').and_then(|line| line.strip_suffix('\'')).unwrap_or(line)
    });
    words.map(|word| word.split_once('=').unwrap())
}

/// The command lines of kubectl in a task.
pub fn kubectl_lines(task: &str) -> impl Iterator<Item = &str> {
    task.lines().map(str::trim).filter(|line| line.starts_with("kubectl "))
}
