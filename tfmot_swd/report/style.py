"""Style sheet of the page: light and dark, for desktop, telephone and print."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2028; --soft: #59626f; --edge: #dde1e7; --grid: #e8ebf0;
  --c0: #1d6fb8; --c1: #c2570c; --c2: #2f7d4f; --c3: #7b4bb3;
  --before: #c3ccd8; --after: #1d6fb8; --zero: #8fbce6; --warm: #c2570c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151a; --card: #1a1e25; --text: #e7eaee; --soft: #a4adba; --edge: #2e343e; --grid: #272c35;
    --c0: #6cb4f2; --c1: #f29b55; --c2: #74cc98; --c3: #c4a2f5;
    --before: #3a424f; --after: #6cb4f2; --zero: #35618a; --warm: #f29b55;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 0 0 4px; overflow-wrap: anywhere; }
p { margin: 0 0 12px; max-width: 75ch; }
.soft, .caption, .key { color: var(--soft); }
.none { color: var(--soft); }
data { font-variant-numeric: tabular-nums; white-space: nowrap; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 16px; }
.tiles, .panels { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.panels { grid-template-columns: repeat(auto-fit, minmax(min(310px, 100%), 1fr)); }
.tile .big { font-size: 25px; font-weight: 650; line-height: 1.2; }
.tile .what { font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.scores { grid-column: span 2; }
.scores dl { grid-template-columns: fit-content(60%) minmax(0, 1fr); margin-top: 6px; }
.scores dt { overflow-wrap: break-word; min-width: 0; color: var(--text); } .scores dd { text-align: right; }
.below { margin-top: 14px; }
.note { display: block; margin: 10px 0 0; }
.narrow { display: none; color: var(--soft); }
.key { font-size: 13px; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 8px; }
.swatch { display: inline-block; width: 14px; height: 10px; border-radius: 2px; margin-right: 6px; }
.swatch.line { height: 0; border-radius: 0; border-top: 3px solid; vertical-align: 4px; background: none; }
.swatch.target { border-top-width: 7px; opacity: 0.3; vertical-align: 2px; }
.before { fill: var(--before); background: var(--before); }
.after { fill: var(--after); background: var(--after); }
.zero { fill: var(--zero); background: var(--zero); }
.second { fill: var(--warm); background: var(--warm); }
.c0 { stroke: var(--c0); color: var(--c0); } .c1 { stroke: var(--c1); color: var(--c1); }
.c2 { stroke: var(--c2); color: var(--c2); } .c3 { stroke: var(--c3); color: var(--c3); }
svg.bar { display: block; width: 100%; height: 11px; border-radius: 2px; overflow: hidden; }
.whisker { stroke: var(--text); stroke-width: 1.5; }
.beyond { fill: none; }
.cut { stroke: var(--card); stroke-width: 3; }
.layers { display: grid; gap: 5px 14px; align-items: center; }
.bars { display: grid; gap: 2px 14px; align-items: end; grid-template-columns: 1fr auto; }
.bars > svg { grid-column: 1 / -1; margin-bottom: 8px; }
.layers { grid-template-columns: fit-content(280px) 1fr 100px 1fr 108px; }
.layers > *, .bars > * { min-width: 0; }
.layers .head { font-size: 13px; color: var(--soft); }
.layer { overflow-wrap: anywhere; line-height: 1.3; font-size: 14px; }
.layer .soft { font-size: 12px; }
.amount { font-size: 13px; white-space: nowrap; text-align: right; }
.plot { padding: 8px 10px 40px 56px; }
.plot > svg { display: block; overflow: visible; }
.grid { stroke: var(--grid); stroke-width: 1; }
.tick { fill: var(--soft); font-size: 11.5px; }
.name { fill: var(--text); font-size: 12px; }
.line { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.line.target { stroke-width: 7; opacity: 0.3; }
.dot { fill: var(--c0); } .ring { fill: var(--card); stroke: var(--c0); stroke-width: 1.5; }
.tie, .lead { stroke: var(--c0); stroke-width: 1; stroke-dasharray: 2 3; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
.caption { font-size: 13px; margin: 0 0 6px; }
td .soft, th .soft { font-weight: 400; font-size: 12px; white-space: nowrap; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--edge); text-align: right; vertical-align: top; }
thead th { overflow-wrap: anywhere; }
.scroll th[scope=row] { position: sticky; left: 0; background: var(--card); overflow-wrap: anywhere; min-width: 90px; }
thead th, thead .left, thead .wide { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th[scope=row], .left, .wide { text-align: left; font-weight: 500; }
td.wide { min-width: 220px; overflow-wrap: anywhere; }
tfoot th, tfoot td { font-weight: 650; border-bottom: 0; }
details { margin-top: 12px; }
details > dl { margin: 4px 0 12px; }
summary { cursor: pointer; color: var(--soft); font-size: 14px; padding: 4px 0; }
code { font: 13px/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; }
@media (max-width: 700px) {
  main { padding: 18px 14px 36px; }
  h1 { font-size: 22px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile .big { font-size: 21px; }
  .layers { grid-template-columns: 1fr auto; gap: 3px 10px; }
  .layers .head { display: none; }
  .layers .layer { grid-column: 1 / -1; margin-top: 8px; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; }
  .scores { grid-column: 1 / -1; } .scores dl { grid-template-columns: fit-content(60%) minmax(0, 1fr); }
  .scores dd { margin: 0; }
  .narrow { display: inline; }
  th, td { padding: 5px 6px; } td.wide { min-width: 0; }
  .stack, .stack tbody, .stack tfoot, .stack tr { display: block; }
  .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stack tr { border-bottom: 1px solid var(--edge); padding: 6px 0; }
  .stack th[scope=row] { display: block; position: static; border: 0; font-weight: 650; }
  .stack td, .stack td.left { display: flow-root; border: 0; padding: 1px 6px; text-align: right; }
  .stack td { overflow-wrap: anywhere; }
  .stack td::before { content: attr(data-label); float: left; margin-right: 14px; color: var(--soft); font-size: 13px; }
  .stack td.wide { text-align: left; min-width: 0; }
  .stack td.wide::before { float: none; display: block; }
  .stack td:empty { display: none; }
}
@media print { body { background: none; } .card { break-inside: avoid; } .scroll { overflow: visible; } }
"""
