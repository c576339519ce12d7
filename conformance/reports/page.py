"""Style and script of the HTML report, as they stand in the page. Constants only."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --back: #fdfdfc; --card: #fff; --text: #1c1d1f; --soft: #5c6066; --line: #d5d8dc; --life: #c3c8ce;
  --pass: #1a7f37; --fail: #c1121f; --unoffered: #6b7280; --unreached: #96600a; --kit: #7b2cbf; --link: #0b57d0; --code: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --back: #16181b; --card: #1d2024; --text: #e6e7e9; --soft: #a2a8b0; --line: #363b42;
  --life: #454b54; --pass: #4cc38a; --fail: #ff6b6b; --unoffered: #9aa1ab; --unreached: #e0a030; --kit: #c792ea; --link: #8ab4f8;
  --code: #24282e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem 6rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
a { color: var(--link); } code { font: .86em/1.45 ui-monospace, SFMono-Regular, Consolas, monospace; }
code { overflow-wrap: anywhere; } small { color: var(--soft); font-weight: normal; }
.sum { font-size: 1.1rem; margin: .25rem 0 .5rem; } .bar { height: .6rem; background: var(--line); border-radius: .3rem; overflow: hidden; }
.bar i { display: block; height: 100%; } .bar .pass { background: var(--pass); } .bar .fail { background: var(--fail); }
.facts { display: flex; flex-wrap: wrap; gap: .25rem 1.75rem; margin: .75rem 0; } .facts div { display: flex; gap: .4rem; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; }
.badge { display: inline-block; font-size: .8rem; white-space: nowrap; border: 1px solid currentColor; border-radius: .7rem; padding: 0 .5rem; }
.pass > .badge, .badge.pass, .cell.pass { color: var(--pass); } .badge.fail, .cell.fail { color: var(--fail); font-weight: 600; }
.badge.unoffered, .cell.unoffered { color: var(--unoffered); } .badge.unreached, .cell.unreached { color: var(--unreached); }
.badge.kit, .cell.kit { color: var(--kit); font-weight: 600; }
.matrix table { border-collapse: collapse; width: 100%; } .matrix th { text-align: left; font-weight: 500; padding: .2rem .75rem .2rem 0; width: 13rem; }
.matrix tr { border-top: 1px solid var(--line); } .points { color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; }
.matrix .points { padding-right: .75rem; } .cells { padding: .25rem 0; } .cell { display: inline-flex; align-items: baseline; justify-content: center; gap: .2rem; min-width: 2.4rem;
  margin: 1px; padding: .1rem .25rem; border: 1px solid currentColor; border-radius: .3rem; text-decoration: none; }
.cell.fail, .cell.kit { background: color-mix(in srgb, currentColor 16%, transparent); } .cell small { color: inherit; font-size: .72rem; }
.cell:hover, .cell:focus-visible { outline: 2px solid var(--link); } .legend { display: flex; flex-wrap: wrap; gap: .5rem; }
.filters { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; padding: .6rem 0;
  background: var(--back); border-bottom: 1px solid var(--line); } .filters[hidden] { display: none; }
input[type=search], select, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .3rem; padding: .15rem .5rem; }
.rule, .without { border: 1px solid var(--line); border-radius: .4rem; background: var(--card); margin: .4rem 0; padding: .35rem .75rem; scroll-margin-top: 5rem; }
.rule > summary, .without > summary { cursor: pointer; } .level { color: var(--soft); } .gone { display: none; }
.case { border-top: 1px solid var(--line); margin: .6rem 0 .2rem; padding-top: .4rem; scroll-margin-top: 5rem; }
.case h3 { font-size: 1rem; margin: .3rem 0; } .told { display: grid; grid-template-columns: 6rem 1fr; margin: .4rem 0; }
.told dt { color: var(--soft); } .told dd { margin: 0; overflow-wrap: anywhere; } .again code { background: var(--code); padding: .1rem .35rem; border-radius: .25rem; }
:target { outline: 2px solid var(--link); outline-offset: 2px; }
.scroll { overflow-x: auto; } .wire { border-collapse: collapse; width: 100%; font-size: .9rem; } .wire thead th { text-align: left; font-weight: 500; color: var(--soft); }
.wire td, .wire th { padding: .15rem .5rem; vertical-align: top; } .wire tr.frame > td { padding-top: .3rem; padding-bottom: .3rem; }
.wire td:first-child { color: var(--soft); font-variant-numeric: tabular-nums; text-align: right; } .wire td:nth-child(3) { white-space: nowrap; color: var(--soft); }
.wire td.lane, .wire th.lane { position: relative; padding: 0; min-width: calc(var(--columns) * 8.5rem); width: calc(var(--columns) * 8.5rem); height: 1.9rem; }
th.lane span { position: absolute; transform: translateX(-50%); white-space: nowrap; color: var(--text); }
.lane > i { position: absolute; top: 0; bottom: 0; border-left: 1px dashed var(--life); }
.lane > b { position: absolute; top: 1.35rem; border-top: 1.5px solid var(--text); font-weight: 400; }
.lane > b span { position: absolute; left: 0; right: 0; bottom: .1rem; text-align: center; font-size: .82rem; line-height: 1.1; overflow-wrap: anywhere; }
.lane > b::after { content: ""; position: absolute; top: -.34rem; border: .3rem solid transparent; }
.lane > b.right::after { right: -.3rem; border-left-color: var(--text); } .lane > b.left::after { left: -.3rem; border-right-color: var(--text); }
.note { color: var(--unreached); font-style: normal; } .frame .note::before { content: " ← "; } .remark .note { color: var(--soft); }
.pairs table { border-collapse: collapse; } .pairs th, .pairs td { border: 1px solid var(--line); padding: .4rem .75rem; text-align: left; vertical-align: top; }
.pairs ul { list-style: none; margin: 0; padding: 0; } .pairs a { text-decoration: none; color: inherit; }
@media print { .filters { display: none !important; } }
"""

SCRIPT: Final = """
(function () {
  "use strict";
  var rules = Array.prototype.slice.call(document.querySelectorAll("details.rule"));
  var heads = Array.prototype.slice.call(document.querySelectorAll("h2.group"));
  var boxes = Array.prototype.slice.call(document.querySelectorAll("input[data-kind]"));
  var find = document.getElementById("find"), group = document.getElementById("group"), shown = document.getElementById("shown");
  function filter() {
    var kinds = {}, words = find.value.toLowerCase().split(/\\s+/).filter(Boolean), count = 0, alive = {};
    boxes.forEach(function (box) { kinds[box.dataset.kind] = box.checked; });
    rules.forEach(function (rule) {
      var text = rule.textContent.toLowerCase();
      var stays = kinds[rule.dataset.kind] && (!group.value || group.value === rule.dataset.group) &&
        words.every(function (word) { return text.indexOf(word) >= 0; });
      rule.classList.toggle("gone", !stays);
      if (stays) { count += 1; alive[rule.dataset.group] = true; }
    });
    heads.forEach(function (head) { head.classList.toggle("gone", !alive[head.dataset.group] && head.dataset.group !== "Everything else"); });
    shown.textContent = count + " of " + rules.length + " rules";
  }
  function reveal() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) { return; }
    for (var at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") { at.open = true; at.classList.remove("gone"); }
    }
    target.scrollIntoView();
  }
  boxes.forEach(function (box) { box.addEventListener("change", filter); });
  find.addEventListener("input", filter);
  group.addEventListener("change", filter);
  document.getElementById("open").addEventListener("click", function () { rules.forEach(function (rule) { rule.open = true; }); });
  document.getElementById("close").addEventListener("click", function () { rules.forEach(function (rule) { rule.open = false; }); });
  window.addEventListener("hashchange", reveal);
  document.querySelector("nav.filters").hidden = false;
  filter();
  reveal();
})();
"""
