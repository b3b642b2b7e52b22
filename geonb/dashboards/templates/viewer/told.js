// What a click tells of a cell: where it is, lines, a chart and a table.
const aboutOf = (viewer) => {
  const { facts, state, boxes } = viewer
  const tell = viewer.working(async () => {
    if (!state.chosen || facts.likeness) return // of a tile, those like it are told
    const mine = state.chosen
    const [{ values }] = await viewer.ask({ what: "values", place: state.place, x: mine.x, y: mine.y, layers: askedOf(viewer) })
    if (mine !== state.chosen) return
    const [chart, table] = [facts.chart && chartSvg(viewer, values), facts.table && tableHtml(viewer, values)]
    const where = `<div><b>${text(cellWords(viewer.place(), mine))}</b></div>`
    boxes.about.innerHTML = where + linesHtml(viewer, values) + (chart ?? "") + (table ?? "")
  })
  const choose = async (x, y) => {
    state.chosen = cellAt(clickedGrid(viewer.place()), x, y)
    viewer.map.repaint()
    if (state.chosen) await tell()
    else boxes.about.innerHTML = "<i>Outside the data.</i>"
  }
  const clear = () => {
    state.chosen = null
    boxes.about.innerHTML = `<i>${text(facts.click)}</i>`
  }
  return { tell, choose, clear }
}
const openOf = ({ table, chart }) => Object.fromEntries([ // layer -> the dims along which all its numbers are told
  [table?.layer, [table?.rows, table?.columns]], [table?.heads, [table?.columns]], [table?.also?.[1], [table?.rows]],
  [chart?.layer, [chart?.along, chart?.each]], [chart?.truth, [chart?.along]], [chart?.past, [chart?.past_dim]],
])
const askedOf = ({ facts, layer, positions }) => {
  const open = openOf(facts)
  const names = [...new Set([...facts.lines.map(([, name]) => name), ...Object.keys(open)])].filter(layer)
  return names.map((name) => {
    const at = Object.entries(positions(layer(name))).filter(([d]) => !open[name]?.includes(d))
    return { layer: name, at: Object.fromEntries(at) }
  })
}
const rounded = ({ facts }, layer) => (facts.whole && !layer.exact && layer.kind !== "classes" ? "~" : "") // a page keeps steps
const linesHtml = (viewer, values) => {
  const { facts, state } = viewer
  const open = openOf(facts)
  return facts.lines.filter(([, name]) => viewer.layer(name)).map(([head, name]) => {
    const layer = viewer.layer(name)
    const along = layer.dims.filter((d) => open[name]?.includes(d))
    const value = along.reduce((v, d) => v?.[state.at[d]], values[name]) ?? null
    if (value === null && layer.kind !== "classes") return ""
    return `<div>${text(head)} <b>${text(rounded(viewer, layer) + figure(value, layer))}</b></div>`
  }).join("")
}
const inOrder = (values, layer, ...axes) => { // values[i][j] along the axes given, whatever order the layer has
  const [first] = layer.dims.filter((d) => axes.includes(d))
  return first === axes[0] ? (i, j) => values?.[i]?.[j] ?? null : (i, j) => values?.[j]?.[i] ?? null
}

// ---- the table ----
const lineLook = ({ model_colours: colours }, j) => { // the first is the one that matters
  const [colour, dashes] = [colours[j % colours.length], DASHES[j % DASHES.length]]
  return `fill="none" stroke="${colour}" stroke-width="${j ? 1.5 : 2.6}" stroke-dasharray="${dashes}"`
}
const lineSample = (facts, j) =>
  `<svg width="44" height="6" style="display:block" aria-hidden="true"><path d="M0 3H44" ${lineLook(facts, j)}/></svg>`
const tableHtml = (viewer, values) => {
  const { rows, columns, also } = viewer.facts.table
  const guess = viewer.layer(viewer.facts.guess)
  const colours = rows === "class" && guess?.kind === "classes" ? guess.colours : []
  const heads = viewer.labels(columns).map((label, j) => headHtml(viewer, values, label, j))
  const body = viewer.labels(rows).map((label, i) => {
    const look = `border-left:10px solid ${colours[i] || "transparent"}`
    const cells = [...alsoHtml(viewer, values, i), ...cellsHtml(viewer, values, i)]
    return `<tr><th scope="row" style="${look}">${text(rowLabel(viewer, rows, i, label))}</th>${cells.join("")}</tr>`
  })
  const first = [viewer.dim(rows).title || rows, ...also.slice(0, 1)].map((words) => `<th scope="col">${text(words)}</th>`)
  return scrolled("numbers of the place", `<tr>${[...first, ...heads].join("")}</tr>${body.join("")}`)
}
const headHtml = (viewer, values, label, j) => {
  const { chart, table: { columns, heads } } = viewer.facts
  const sample = chart?.each === columns ? lineSample(viewer.facts, j) : ""
  const under = heads ? `<br><small>${text(figure(values[heads]?.[j] ?? null, viewer.layer(heads)))}</small>` : ""
  return `<th scope="col">${text(label)}${sample}${under}</th>`
}
const rowLabel = ({ state, dim, labels }, name, i, label) => { // months ahead as the month that is meant
  const { ahead_of: origin, ahead } = dim(name)
  return origin ? monthsOn(labels(origin)[state.at[origin]], ahead[i]) : label
}
const alsoHtml = ({ facts: { table: { also } }, layer }, values, i) =>
  (also.length ? [`<td>${text(figure(values[also[1]]?.[i] ?? null, layer(also[1])))}</td>`] : [])
const cellsHtml = (viewer, values, i) => {
  const { layer: name, rows, columns } = viewer.facts.table
  const layer = viewer.layer(name)
  const [low, high] = [layer.low ?? 0, layer.high ?? 1]
  const at = inOrder(values[name], layer, rows, columns)
  return viewer.labels(columns).map((_, j) => {
    if (at(i, j) === null) return "<td class='pale'>-</td>"
    const share = 100 * clamp((at(i, j) - low) / (high - low), 0, 1)
    const bar = `background:linear-gradient(90deg,#c9d8e6 ${share}%,transparent ${share}%)`
    return `<td style="${bar}">${rounded(viewer, layer)}${text(figure(at(i, j), layer))}</td>`
  })
}

// ---- the chart: what came before as bars, then a line for each position of `each` ----
const CHART = { width: 400, months: 120, past: 220, edge: 4, top: 12, base: 78, high: 66 }
const chartSvg = (viewer, values) => {
  const { layer: name, along, each, truth, past, past_dim, origin } = viewer.facts.chart
  const { labels, state } = viewer
  const layer = viewer.layer(name)
  const at = inOrder(values[name], layer, along, each)
  const first = origin ? labels(origin)[state.at[origin]] : ""
  const known = past && values[past] ? labels(past_dim).map((label, k) => [label, values[past][k]]) : []
  const before = known.filter(([label]) => label < first).slice(-CHART.months)
  const split = CHART.edge + (before.length ? CHART.past : 0)
  const [steps, lines] = [labels(along), labels(each)]
  const x = (i) => split + ((i + 0.5) * (CHART.width - split - 6)) / steps.length
  const all = steps.flatMap((_, i) => lines.map((_, j) => at(i, j))).filter((v) => v !== null)
  const top = Math.max(layer.form === "percent" ? 0.1 : 1e-9, ...all)
  const drawn = lines.map((_, j) => {
    const points = steps.map((_, i) => [x(i), at(i, j)]).filter(([, v]) => v !== null)
    const told = points.map(([px, v]) => `${px.toFixed(1)},${(CHART.base - (CHART.high * v) / top).toFixed(1)}`)
    return `<polyline points="${told.join(" ")}" ${lineLook(viewer.facts, j)}/>`
  })
  const came = steps.map((_, i) => (values[truth]?.[i] === 1 ? `<circle cx="${x(i)}" cy="84" r="3.2"/>` : ""))
  const words = `${lines.length} lines from ${first}; the highest ${figure(top, layer)}`
  const { width, edge, base } = CHART
  return `<svg viewBox="0 0 ${width} 98" class="chart" font-size="12" role="img" aria-label="${text(words)}">
    ${barsSvg(before, split)}<path d="M${edge} ${base}H${width}" stroke="#999"/>
    <path d="M${split} 4V${base}" stroke="#555" stroke-dasharray="3 2"/>${drawn.reverse().join("")}${came.join("")}
    ${chartText(width - 2, 10, `top ${figure(top, layer)}${truth ? "; black dots: it came true" : ""}`, "end")}
    ${chartText(edge, 96, before.length ? `events since ${before[0][0]}` : "")}${chartText(split + 2, 96, first)}</svg>`
}
const chartText = (x, y, words, anchor = "start") =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="#555">${text(words)}</text>`
const barsSvg = (before, split) => {
  const step = (split - 6) / Math.max(1, before.length)
  const bar = (k) => `x="${CHART.edge + k * step}" y="${CHART.top}" width="${Math.max(1, step * 0.8)}" height="${CHART.high}"`
  return before.map(([, v], k) => (v ? `<rect ${bar(k)} fill="#777"/>` : "")).join("")
}
