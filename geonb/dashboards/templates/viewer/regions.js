// A region of the map, drawn or a group: its scores by split and model, and its cells and outline as files.
const COUNTED = [1500, 1500] // cells a side at most
const ONLY_TEST = "Only the test split is a test: elsewhere the network has seen the answers, or was chosen by them."
const regionsOf = (viewer) => {
  const { state, boxes } = viewer
  let turn = 0
  const clear = () => {
    state.region = null
    boxes.region.replaceChildren()
    viewer.map.repaint()
  }
  const tell = viewer.working(async () => {
    const region = state.region
    if (!region) return
    const mine = ++turn
    const found = await planesOfRegion(viewer, region)
    if (mine !== turn || region !== state.region) return
    if (!region.points) region.rings ??= ringsAround(found.groups, region.group)
    viewer.map.repaint()
    const scores = found.guesses.length ? scoresByPart(viewer, found) : null
    boxes.region.replaceChildren(...[
      h("div", {}, h("b", {}, region.name ?? "Region"), found.plane ? regionWords(found) : ": nothing to count in a picture."),
      scores && Object.assign(h("div"), { innerHTML: scoresHtml(scores) }), scores && h("div", { class: "pale" }, ONLY_TEST),
      h("div", { class: "row" }, found.plane ? button("cells as CSV", () => exportCells(viewer, found)) : null,
        region.points ? button("outline as GeoJSON", () => exportOutline(viewer, region)) : null, button("clear", clear)),
    ].filter(Boolean))
  })
  const choose = (region) => {
    state.region = region
    viewer.map.repaint()
    return viewer.facts.likeness?.marked ? viewer.tiles.markRegion(region) : tell()
  }
  return { tell, choose, clear }
}
const planesOfRegion = async (viewer, region) => { // { guesses, models, truth, split, groups, top, plane, cells }
  const { facts, state, layer, dim } = viewer
  const view = region.points ? boundsOf(region.points) : viewer.place().bounds
  const guess = layer(facts.guess)
  const models = guess && dim("model") ? viewer.labels("model") : [""]
  const top = ["error", "image"].includes(layer(state.top)?.kind) ? null : layer(state.top)
  const asked = {
    guesses: guess ? models.flatMap((_, model) => viewer.wanted(guess, guess.dims.includes("model") ? { model } : {})) : [],
    truth: viewer.wanted(layer(facts.truth)), split: viewer.wanted(layer(facts.split)),
    groups: viewer.wanted(layer(facts.groups)), top: viewer.wanted(top),
  }
  const got = await viewer.planes(Object.values(asked).flat(), view, COUNTED, true)
  const [guesses, ...others] = Object.values(asked).map((own) => got.splice(0, own.length))
  const [truth, split, groups, shown] = others.map(([one]) => one ?? null)
  const plane = truth ?? shown ?? guesses[0]
  const cells = plane ? cellsIn(plane, region, groups) : []
  return { guesses, models, truth, split, groups, top: shown ?? guesses[0], plane, cells }
}
const regionWords = ({ cells, plane, top }) => {
  const comparable = top?.codes && top.codes.length === plane.codes.length
  return `: ${cells.length.toLocaleString("en")} cells.${thinWords(plane)} ${comparable ? summary(top, cells) : ""}`
}
const scoresByPart = ({ facts, state, dim }, { guesses, models, truth, split, cells }) => {
  if (!truth) return []
  const remark = dim(facts.split)?.remarks[state.at[facts.split]]
  const inSplit = (code) => cells.filter((i) => split.codes[i] === code)
  const parts = split ? split.layer.labels.map((name, code) => [name, inSplit(code)]) : [[remark ?? "", cells]]
  const rows = parts.flatMap(([name, own]) =>
    guesses.map((guess, m) => ({ split: name, model: models[m], ...scoresOf(guess, truth, own) })))
  return rows.filter((row) => row.n)
}
const scoresHtml = (rows) => {
  if (!rows.length) return "<div>No truth is known here.</div>"
  const columns = Object.keys(rows[0]).filter((name) => name !== "split" || rows.some((row) => row.split))
  const words = (v) => {
    if (typeof v !== "number") return text(v)
    if (Number.isNaN(v)) return "-"
    return Number.isInteger(v) ? v.toLocaleString("en") : v.toFixed(Math.abs(v) >= 10 ? 1 : 3)
  }
  const row = (cells) => `<tr>${cells.join("")}</tr>`
  const head = row(columns.map((name) => `<th scope="col">${text(name)}</th>`))
  const body = rows.map((one) => row(columns.map((name) => `<td>${words(one[name])}</td>`)))
  return scrolled("scores of the region", head + body.join(""))
}

// ---- files ----
const exportCells = (viewer, { cells, plane, guesses, models, truth, split }) => {
  const more = [[split, "split"], [truth, "truth"], ...guesses.map((g, m) => [g, `${g.layer.title} ${models[m]}`.trim()])]
  const columns = more.filter(([one]) => one)
  const value = (one, i) => {
    if (!isThere(one, i)) return ""
    return one.layer.kind === "classes" ? one.layer.labels[one.codes[i]] : +valueAt(one, i).toPrecision(6)
  }
  const rows = cells.map((i) => {
    const [x, y] = middleOf(cellBox(plane, i))
    const degrees = lonlat(viewer.place(), x, y)?.map((v) => +v.toFixed(6)) ?? ["", ""]
    return [x, y, ...degrees, ...columns.map(([one]) => value(one, i))]
  })
  const head = ["x", "y", "longitude", "latitude", ...columns.map(([, name]) => name)]
  download(viewer.root, `${fileName(viewer)}.csv`, csv([head, ...rows]), "text/csv")
}
const exportOutline = (viewer, { points }) => {
  const ring = [...points, points[0]].map(([x, y]) => lonlat(viewer.place(), x, y) ?? [x, y])
  const properties = { title: viewer.boxes.title.textContent }
  const feature = { type: "Feature", properties, geometry: { type: "Polygon", coordinates: [ring] } }
  const file = JSON.stringify({ type: "FeatureCollection", features: [feature] })
  download(viewer.root, `${fileName(viewer)}.geojson`, file, "application/geo+json")
}
