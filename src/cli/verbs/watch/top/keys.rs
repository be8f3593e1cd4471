//! What keys do in `top`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::view::{Page, Sort, View};

/// Handle a key. Returns false if it ends the view.
pub(super) fn press(view: &mut View, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return false;
    }
    if view.is_typing {
        type_filter(view, key.code);
        return true;
    }
    match key.code {
        KeyCode::Char('q') => return false,
        KeyCode::Esc => return back(view),
        KeyCode::Char('p') => view.is_paused = !view.is_paused,
        KeyCode::Char('?' | 'h') => view.page = Page::Help,
        KeyCode::Enter => open(view),
        KeyCode::Char('/') => {
            view.page = Page::Disks;
            view.is_typing = true;
        }
        KeyCode::Char('g') => view.next_sums(),
        KeyCode::Char('n') => view.sort_by(Sort::Name),
        KeyCode::Char('i') => view.sort_by(Sort::Iops),
        KeyCode::Char('b') => view.sort_by(Sort::Bandwidth),
        KeyCode::Char('l') => view.sort_by(Sort::Latency),
        KeyCode::Char('m') => view.sort_by(Sort::Memory),
        KeyCode::Char('w') => view.sort_by(Sort::Waiting),
        KeyCode::Char('e') => view.sort_by(Sort::Errors),
        KeyCode::Down | KeyCode::Char('j') => view.step(1),
        KeyCode::Up | KeyCode::Char('k') => view.step(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => view.turn(true),
        KeyCode::PageUp => view.turn(false),
        KeyCode::Home => view.step(isize::MIN),
        KeyCode::End => view.step(isize::MAX),
        _ => {}
    }
    true
}

fn type_filter(view: &mut View, key: KeyCode) {
    match key {
        KeyCode::Enter => view.is_typing = false,
        KeyCode::Esc => {
            view.filter.clear();
            view.is_typing = false;
        }
        KeyCode::Backspace => {
            view.filter.pop();
        }
        KeyCode::Char(letter) => view.filter.push(letter),
        _ => {}
    }
    view.step(isize::MIN);
}

/// Leave the page, or else the opened sum, or else the filter, or else the program.
fn back(view: &mut View) -> bool {
    if view.page != Page::Disks {
        view.page = Page::Disks;
        view.events = None;
    } else if let Some((by, value)) = view.only.take() {
        let sums = view.sums(&by);
        let at = sums.iter().position(|sum| sum.0 == value);
        view.selected = at.unwrap_or(0);
        view.page = Page::Sums(by);
    } else if view.filter.is_empty() {
        return false;
    } else {
        view.filter.clear();
    }
    true
}

/// The page of the selected disk; of a sum, its disks.
fn open(view: &mut View) {
    match view.page.clone() {
        Page::Disks => {
            if let Some(row) = view.chosen() {
                view.page = Page::Disk(row.disk.name.clone());
                view.events = None;
            }
        }
        Page::Sums(by) => {
            let sums = view.sums(&by);
            if let Some((value, _)) = sums.get(view.selected) {
                view.only = Some((by, value.clone()));
                view.page = Page::Disks;
                view.step(isize::MIN);
            }
        }
        Page::Disk(_) | Page::Help => view.page = Page::Disks,
    }
}
