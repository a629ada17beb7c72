//! HTML as mail programs, newsletters and attackers write it.

use proptest::prelude::*;

use super::*;

fn check(html: &str, text: &str) {
    assert_eq!(render(html, 10_000), Rendered { text: text.to_owned(), cut: false }, "{html}");
}

#[test]
fn blocks_have_lines_of_their_own() {
    check("<div>We open at 7</div><div>12 seats are left.</div>", "We open at 7\n12 seats are left.");
    check("<div>One</div><div><br></div><div>Two</div>", "One\n\nTwo");
    check("<p>One<p>Two<br>Three<br><br><br><br>Four", "One\n\nTwo\nThree\n\nFour");
    check(
        "<h1>Title</h1>Text <b>bold</b>\n  and\t<i>more</i>.<hr>End",
        "Title\n\nText bold and more.\n\n---\n\nEnd",
    );
    check("a<section>b</section><address>c</address>d", "a\nb\nc\nd");
    check("<dl><dt>Term<dd>Means this<dt>Other<dd>That</dl>", "Term\nMeans this\nOther\nThat");
    check("  \n <br><br> first ", "first");
    check("one<!-- no -->two&nbsp;&amp;&euro;&#x20AC;&lt;b&gt;", "onetwo &€€<b>");
    check("<![if !mso]>seen<![endif]><!--[if mso]>unseen<![endif]-->", "seen");
    check("<pre>a  b\n\n  c\r\nd</pre>e", "a  b\n\n  c\nd\n\ne");
    check("<div style='white-space: pre-wrap'>a\n b</div>", "a\n b");
}

#[test]
fn cells_and_rows_stay_apart() {
    let plain = "<table><tr><th>Bus</th><th>From</th></tr><tr><td>M 41</td><td>8:05</td></tr></table>";
    check(plain, "Bus  From\nM 41  8:05");
    // As word processors write it: without end tags, with paragraphs in cells and empty columns.
    check(
        "<table><tr><td><p>M 41<td>&nbsp;<td><p>8:05<tr><td>M 85<td><td>9:00</table>",
        "M 41  8:05\nM 85  9:00",
    );
    check("<table><thead><td>A<td>B<tbody><td>1<td>2</table>x", "A  B\n1  2\nx");
    check("<table><tr><td>left<br>below</td><td>right</td></tr></table>", "left\nbelow\nright");
    let nested =
        "<table><tr><td><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table></td></tr></table>";
    check(nested, "a  b\nc");
    check("19<sup>99</sup> the 1<sup>st</sup>, H<sub>2</sub>O", "19^99 the 1^st, H2O");
    check(
        "<s>5 pm</s> 6 pm, <q>so</q>, <ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>",
        "~~5 pm~~ 6 pm, \"so\", 漢(kan)",
    );
}

#[test]
fn lists_and_quotes_keep_their_form() {
    check(
        "Buy:<ul><li>milk<li>bread<ol start=3><li>rye<li value=7>oat</ol></li><li></li></ul>now",
        "Buy:\n\n- milk\n- bread\n  3. rye\n  7. oat\n\nnow",
    );
    check("<ul><li><p>a</p><p>b</p></li></ul>", "- a\n\n  b");
    check(
        "Yes.<blockquote>Do you come?<blockquote>When?</blockquote></blockquote>",
        "Yes.\n\n> Do you come?\n>\n> > When?",
    );
    let deep = format!("{}x", "<blockquote>".repeat(40));
    check(&deep, &format!("{}x", "> ".repeat(12)));
}

#[test]
fn links_keep_their_address() {
    check(
        "<a href='https://x.example/p?a=1&amp;b=2'>the form</a>!",
        "the form (https://x.example/p?a=1&b=2)!",
    );
    check(
        "<a href='https://evil.example/'>https://bank.example</a>",
        "https://bank.example (https://evil.example/)",
    );
    check(
        "<a href='https://bank.example/'>bank.example</a> <a href=\"mailto:a@b.c?subject=x\">a@b.c</a>",
        "bank.example a@b.c",
    );
    check("<a href='mailto:a@b.c'>Anna</a>, <a href='tel:+491'>call</a>", "Anna (a@b.c), call (+491)");
    check("<a href='#top'>up</a><a href=' JavaScript:x()'>run</a><a href='data:text/html,x'>d</a>", "uprund");
    check(
        "<a href='https://x.y'><img alt='Logo' width=90></a> <a href='https://x.z'><img></a>",
        "Logo (https://x.y) https://x.z",
    );
    check("<a href='https://x.y'><div>one</div><div>two</div></a>three", "one\ntwo (https://x.y)\nthree");
    check("<a href='https://x.y'>one<a href='https://x.z'>two</a>", "one (https://x.y)two (https://x.z)");
    check("<a href='ht\ntps://x.y/\u{202e}a b'>t</a>", "t (https://x.y/a%20b)");
    let long = format!("<a href='https://x.y/{}'>t</a>", "a".repeat(5000));
    assert_eq!(render(&long, 10_000).text.len(), "t (…)".len() + 2048);
}

#[test]
fn what_is_not_seen_is_not_shown() {
    for hidden in [
        "style='display:none'",
        "style='DISPLAY : None !important'",
        "hidden",
        "style='visibility:hidden'",
        "style='font-size:0'",
        "style='font-size:1px;line-height:1px'",
        "style='font:0/0 a'",
        "style='max-height:0;overflow:hidden'",
        "style='width:0px;overflow:hidden'",
        "style='opacity:0'",
        "style='color:transparent'",
        "style='color:#FFFFFF;background-color:white'",
        "style='color:#fff'",
        "style='color:#fefefe'",
        "style='color:rgb(1 2 3 / 0)'",
        "style='text-indent:-9999px'",
        "style='position:absolute;left:-5000px'",
        "style='position:absolute;clip:rect(0,0,0,0)'",
        "style='/* x */ display:/**/none'",
        "class=pre",
        "class='a pre b'",
        "id=ph",
    ] {
        let sheet = "<style><!-- @media screen { .shown { display:none } } .pre, #ph {display:none} td .shown {display:none} --></style>";
        check(&format!("{sheet}a <div {hidden}>no <b>nor this</b></div><p class=shown>b"), "a\n\nb");
        check(&format!("{sheet}a <span {hidden}>no</span> b"), "a b");
        check(
            &format!("{sheet}<table><tr><td>a<td {hidden}>no<td>b<tr {hidden}><td>no<tr><td>c</table>"),
            "a  b\nc",
        );
    }
    check("<title>t</title><script>s<b></script><template>x</template>a<style>b</style><xml>c</xml>", "a");
    check("<noscript>seen</noscript><img src=x width=1 height=1 alt=no><img alt='a cat'>", "seena cat");
}

#[test]
fn what_is_seen_is_shown_although_its_surroundings_are_not() {
    check("<td style='font-size:0px'><div style='font-size:13px'>Hello</div></td>", "Hello");
    check(
        "<div style='font-size:0'><b style='font-size:1.2em'>no</b><b style='font-size:medium'>yes</b></div>",
        "yes",
    );
    check("<div style='visibility:hidden'>no<b style='visibility:visible'>yes</b></div>", "yes");
    check("<div style='background:#000'><font color='#fff'>white on black</font></div>", "white on black");
    check("<table bgcolor='#112233'><td style='color:#ffffff'>on blue</table>", "on blue");
    check("<div style='background:url(x.png)'><b style='color:white'>on a picture</b></div>", "on a picture");
    check(
        "<style>.hero td{background:#123}</style><div class=hero><b style='color:#fff'>perhaps</b></div>",
        "perhaps",
    );
    check(
        "<div style='max-height:0'>not clipped</div><div style='display:none;display:block'>shown</div>",
        "not clipped\nshown",
    );
    check("<p hidden>no<p>yes<ul><li hidden>no<li>yes</ul>", "yes\n\n- yes");
}

#[test]
fn broken_nesting_does_not_lose_text() {
    check("<b><i>a</b>b</i></div></table>c</p><td>d", "abc\nd");
    check("<table><tr><td>a</div></span>b</table>c", "ab\nc");
    check("<div><p>a</div>b", "a\n\nb");
    check("</br>a</br>b<br/>c", "a\nb\nc");
}

#[test]
fn hostile_html_is_read_within_its_bounds() {
    for piece in [
        "<div>",
        "<b>",
        "<a href=https://x.y>t",
        "<table><tr><td>x",
        "<ul><li>",
        "<blockquote>x<p>",
        "</p>",
        "<ol><li>a",
        "&nbsp;",
        "<p style='a:b;c:d'>",
        "<style>.a{b:c}</style><i class=a>",
    ] {
        let html = piece.repeat(20_000);
        let rendered = render(&html, 5000);
        assert!(rendered.text.len() <= 5000, "{piece}");
    }
    let wide = format!("<p {}>x", "a=b ".repeat(600_000));
    assert_eq!(render(&wide, 10), Rendered { text: String::new(), cut: true });
    assert_eq!(render("<p>1234567 89", 8), Rendered { text: "1234567".to_owned(), cut: true });
}

/// Pieces of markup in any order.
fn markup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "<(div|p|table|tr|td|th|ul|ol|li|a href=http://x|blockquote|pre|span|b|style|title|q|s|sup)>",
        "</(div|p|table|tr|td|th|ul|ol|li|a|blockquote|pre|span|b|style|title|q|s|sup|br)>",
        "<(br|hr|img alt=x|p hidden|td style='display:none'|div style=font-size:0)>",
        "[a-zé漢 \n]{0,5}",
        "&(amp|nbsp|zwnj|#0|#x202e|#xd800|bogus);?",
        "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_markup_gives_bounded_text_without_leftovers(html in markup(), most in 0usize..300) {
        let rendered = render(&html, most);
        prop_assert!(rendered.text.len() <= most);
        prop_assert!(!rendered.text.contains("\n\n\n") && !rendered.text.ends_with([' ', '\n']));
    }

    #[test]
    fn shown_words_are_in_the_text_in_their_order(words in proptest::collection::vec("[a-z]{1,6}", 1..20), tags in proptest::collection::vec("(div|p|td|li|b|blockquote|a|tr|table|ul)", 20)) {
        let html: String = words.iter().zip(&tags).map(|(word, tag)| format!("<{tag}> {word} ")).collect();
        let text = render(&html, 100_000).text;
        let found: Vec<&str> = text.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty()).collect();
        prop_assert_eq!(found, words);
    }
}
