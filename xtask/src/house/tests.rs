//! Small crates in memory, and what the analysis says of them.

use std::path::{Path, PathBuf};

use super::{
    circles::circles,
    modules::Crate,
    names,
    prose::{self, Prose},
    shape::shape,
    source::{Source, Sources},
};

fn tree(files: &[(&str, &str)]) -> Crate {
    let parse = |text: &str| Source { text: text.to_owned(), syntax: syn::parse_file(text).unwrap() };
    let sources: Sources = files.iter().map(|(path, text)| (PathBuf::from(path), parse(text))).collect();
    Crate::read(&sources, Path::new("src/lib.rs")).unwrap()
}

/// The files of each circle.
#[track_caller]
fn check_circles(files: &[(&str, &str)], expected: &[&[&str]]) {
    let found: Vec<Vec<String>> = circles(&tree(files))
        .into_iter()
        .map(|circle| circle.files.iter().map(|file| file.display().to_string()).collect())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn two_files_that_name_each_other_are_a_circle() {
    let root = ("src/lib.rs", "mod a; mod b;");
    let a = ("src/a.rs", "use crate::b::B; pub struct A;");
    check_circles(&[root, a, ("src/b.rs", "pub struct B(super::a::A);")], &[&["src/a.rs", "src/b.rs"]]);
    check_circles(&[root, a, ("src/b.rs", "pub struct B;")], &[]);
    let in_macro = "pub struct B; fn f() { println!(\"{:?}\", crate::a::A); }";
    check_circles(&[root, a, ("src/b.rs", in_macro)], &[&["src/a.rs", "src/b.rs"]]);
    let in_test = "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }";
    check_circles(&[root, a, ("src/b.rs", in_test)], &[]);
}

#[test]
fn a_re_export_is_an_import_only_for_code_that_uses_it() {
    let root = ("src/lib.rs", "mod q;");
    let child = ("src/q/job.rs", "pub struct Job(super::Id);");
    let facade = "mod id; mod job; pub use id::Id; pub use job::Job;";
    let id = ("src/q/id.rs", "pub struct Id;");
    check_circles(&[root, ("src/q/mod.rs", facade), child, id], &[]);
    let declares = "mod job; pub use job::Job; pub struct Id; pub trait Queue { fn take(&self) -> Job; }";
    check_circles(&[root, ("src/q/mod.rs", declares), child], &[&["src/q/job.rs", "src/q/mod.rs"]]);
}

#[test]
fn a_longer_circle_is_found_through_globs_and_aliases() {
    check_circles(
        &[
            ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
            ("src/a.rs", "use crate::b::*; pub struct A(B);"),
            ("src/b.rs", "use crate::c; pub struct B(c::C);"),
            ("src/c.rs", "use crate::a::A as First; pub struct C(First);"),
            ("src/d.rs", "use crate::a::A;"),
        ],
        &[&["src/a.rs", "src/b.rs", "src/c.rs"]],
    );
}

#[test]
fn only_names_that_users_can_write_are_shared() {
    let names = |b: &str| {
        let files =
            [("src/lib.rs", "pub mod a; pub mod b;"), ("src/a.rs", "pub struct Message;"), ("src/b.rs", b)];
        names::shared(&tree(&files)).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names("pub enum Message {}"), ["Message"]);
    assert_eq!(names("mod wire { pub struct Message; } pub use wire::Message;"), ["Message"]);
    assert!(names("mod wire { pub struct Message; }").is_empty());
    assert!(names("pub(crate) struct Message;").is_empty());
    assert!(names("pub use crate::a::Message;").is_empty());
    assert!(names("mod wire { pub struct Message; } pub use wire::Message as WireMessage;").is_empty());
}

#[test]
fn sizes_leave_tests_and_default_methods_out() {
    let text = "fn two() {\n}\n#[cfg(test)]\nmod tests { fn no() {} }\n\
                pub trait T { fn a(&self); fn b(&self) {} async fn c(&self); }";
    let shape = shape(Path::new("x.rs"), &syn::parse_file(text).unwrap());
    assert_eq!(shape.functions.iter().map(|f| f.size).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(shape.traits.iter().map(|t| t.size).collect::<Vec<_>>(), [2]);
}

#[test]
fn prose_is_read_without_its_code() {
    let wide = "x ".repeat(60);
    let text = [
        "/// The id.",
        "struct A;",
        "/// A sentence that is longer, and",
        "/// is wrapped.",
        "struct B;",
        &format!("// {wide}"),
        &format!("/// | {wide}|"),
        "/// ```",
        &format!("/// {wide} anew"),
        "/// ```",
        "// It is `anew` for",
        "// ever, ANEW.",
        &format!("// https://{wide}"),
    ]
    .join("\n");
    let Prose { doc_lines, short, wide, words } = prose::comments(Path::new("x.rs"), &text);
    let places = |found: &[prose::Finding]| found.iter().map(|f| f.place.clone()).collect::<Vec<_>>();
    assert_eq!(doc_lines, 4);
    assert_eq!(places(&short), ["x.rs:1"]);
    assert_eq!(places(&wide), ["x.rs:6"]);
    assert_eq!(places(&words), ["x.rs:12", "x.rs:11"]);
    let text = "It is anew.\n```\nanew\n```\n";
    assert_eq!(places(&prose::markdown(Path::new("x.md"), text)), ["x.md:1"]);
}
