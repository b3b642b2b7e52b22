// The explorer's viewer, put together. mount(root, facts, ask, told) draws it into an element: `facts` say what there is
// (geonb.dashboards.explorer), `ask` answers (a kernel, a server or the page itself), told(state) hears of every change.
// No network is asked. Each part is given one object, `viewer`, and holds nothing else that others see:
//   root, facts, ask, told, id       as given; a prefix of ids: a page may have several viewers
//   state                            what is shown and chosen (state.js); what its names mean: layer, dim, place, labels, dimsOf,
//                                    positions, wanted, threshold, hidesBelow, clickGrid
//   drawn, alike                     the planes on the map: { top, other, below, marks, groups }; tiles like the one chosen
//   boxes                            elements for words: title, under, legend, said, about, region
//   drawing                          whether dragging draws a region: { on, set, button }
//   planes, working                  asking (asking.js)
//   refresh, choose, moveTo, goPlace what a part may ask for
//   map, about, tiles, regions, controls, search, sheet   the parts
export function mount(root, facts, ask, told = () => {}) {
  const id = `geonb${Math.random().toString(36).slice(2, 8)}` // several viewers of a page may each have loaded this file
  const state = startOf(facts)
  const viewer = { root, facts, ask, told, id, state, drawn: null, alike: [], ...lookupsOf(facts, state) }
  Object.assign(viewer, { boxes: boxesOf(), drawing: drawingOf(viewer) }, askingOf(viewer))
  Object.assign(viewer, actionsOf(viewer), {
    map: mapOf(viewer), about: aboutOf(viewer), tiles: tilesOf(viewer), regions: regionsOf(viewer), controls: controlsOf(viewer),
  })
  viewer.search = searchOf(viewer, viewer.controls.make)
  viewer.sheet = sheetOf(viewer, viewer.controls.make)
  viewer.about.clear()
  viewer.search.fill()
  startThreshold(viewer)
  arrange(viewer)
  handsOf(viewer)
  const watch = new ResizeObserver(viewer.map.resize)
  watch.observe(viewer.map.canvas.parentElement)
  viewer.map.resize()
  if (facts.likeness) viewer.tiles.start()
  viewer.sheet.show()
  return (root.explorer = outsideOf(viewer, watch))
}
const outsideOf = (viewer, watch) => { // what a widget or a test may do with it
  const { state, map: { look, toScreen, toMap }, controls, place } = viewer
  const set = (changes) => {
    for (const name of ["below", "top", "compare", "opacity"]) if (name in changes) state[name] = changes[name]
    controls.compare.build()
    viewer.moveTo(changes.at ?? {})
  }
  const destroy = () => {
    watch.disconnect()
    controls.destroy()
  }
  return { set, look, state, toScreen, toMap, metres: () => metresOf(place(), state.view), destroy }
}
const actionsOf = (viewer) => {
  const { facts, state } = viewer
  let turn = 0
  const refresh = viewer.working(async () => {
    const mine = ++turn
    viewer.controls.sync()
    const drawn = await drawnOf(viewer)
    if (mine !== turn) return
    viewer.drawn = drawn
    viewer.map.repaint()
    describe(viewer)
  })
  const choose = (x, y) => (facts.likeness ? viewer.tiles : viewer.about).choose(x, y)
  const moveTo = (at) => {
    Object.assign(state.at, at)
    if (facts.threshold.by?.some((name) => name in at)) startThreshold(viewer)
    refresh()
    viewer.about.tell()
    viewer.regions.tell()
  }
  const goPlace = (i) => {
    viewer.regions.clear()
    state.place = i
    for (const { name } of facts.dims) state.at[name] = Math.min(state.at[name], viewer.labels(name).length - 1)
    if (!facts.likeness) viewer.about.clear()
    viewer.map.restart()
    viewer.search.fill()
    viewer.sheet.show()
  }
  return { refresh, choose, moveTo, goPlace }
}
const drawnOf = async (viewer) => {
  const { facts, state, layer } = viewer
  const shown = [
    [layer(state.top)], state.compare === "off" ? [] : [layer(state.other.layer), state.other.at], [layer(state.below)],
    [layer(facts.outlined[1])], state.group ? [layer(facts.groups)] : [],
  ]
  const wanted = shown.map(([one, at]) => viewer.wanted(one, at))
  const whole = wanted.at(-1).length ? [viewer.place().bounds, COUNTED] : [] // a group's mean is of all its cells
  const got = await viewer.planes(wanted.flat(), ...whole)
  const [top, other, below, marks, groups] = wanted.map((own, i) => {
    const [one, truth] = got.splice(0, own.length)
    return truth ? judged(shown[i][0], [one, truth], viewer.threshold()) : one ?? null
  })
  const mean = (plane) => (groups && top?.codes && plane?.layer.kind === "numbers" ? grouped(plane, groups) : plane)
  const drawn = { top: mean(top), other: mean(other), below, marks, groups: top?.codes ? groups : null }
  const comparable = other?.codes && top?.codes && top.width === other.width
  if (state.compare === "difference" && comparable) drawn.top = difference(drawn.top, drawn.other)
  return drawn
}
const describe = (viewer) => {
  const { root, facts, state, boxes, labels, place } = viewer
  boxes.title.textContent = titleOf(viewer)
  boxes.legend.replaceChildren(...legendNodes(viewer))
  boxes.said.textContent = countsOf(viewer)
  viewer.map.canvas.setAttribute("aria-label", `Map: ${boxes.title.textContent}. ${boxes.said.textContent} ${place().name}`)
  const positions = facts.dims.map(({ name }) => labels(name)[state.at[name]])
  root.dataset.shown = [place().name, state.below, state.top, state.compare, ...positions].join(" | ")
  const { below, top, compare, chosen, right, wrong } = state
  const region = state.region?.points ?? null
  viewer.told({ place: place().name, at: { ...state.at }, below, top, compare, chosen, region, right, wrong })
}

// ---- what stands where ----
const KEYS = "Drag moves, Ctrl + wheel (or the wheel after a click) zooms, double click shows all; two fingers do both. " +
  "Keys on the map: arrows move the mark, Shift + arrows the map, + and − zoom, 0 shows all."
const boxesOf = () => ({
  title: h("div", { class: "title" }), under: h("div", { class: "under", "aria-live": "polite" }),
  legend: h("div", { class: "legend" }), said: h("div", { class: "pale" }),
  about: h("div", { class: "about", "aria-live": "polite" }), region: h("div", { class: "about" }),
})
const drawingOf = (viewer) => {
  const set = (on) => {
    drawing.on = on
    drawing.button.setAttribute("aria-pressed", on)
    viewer.map.canvas.style.cursor = on ? "crosshair" : ""
  }
  const how = { "aria-pressed": "false", title: "drag a rectangle on the map; with Shift held, any outline" }
  const drawing = { on: false, set, button: button("region", () => set(!drawing.on), how) }
  return drawing
}
const arrange = (viewer) => {
  const { root, facts, id, state, boxes, map, regions, controls, search, sheet } = viewer
  const takeView = () => regions.choose({ points: corners(state.view) })
  const buttons = h("div", { class: "row" },
    button("+", () => map.zoom(1 / ZOOM_STEP), { "aria-label": "closer" }),
    button("−", () => map.zoom(ZOOM_STEP), { "aria-label": "farther" }), button("all", map.showAll), viewer.drawing.button,
    button("this view", takeView, { title: "take what the map shows as the region" }),
    button("PNG", () => exportPicture(viewer), { title: "the map with its legend and caption" }))
  const notes = Object.assign(h("div", { class: "notes" }), { innerHTML: facts.notes })
  const { title, under, legend, said, about, region } = boxes
  root.classList.add("geonb-explorer")
  root.replaceChildren(
    h("div", { class: "left" }, title, h("div", { class: "frame" }, map.canvas), under, legend, notes),
    h("div", { class: "right" }, buttons, controls.fields, search.fields, said, about, region,
      h("div", { class: "pale", id: `${id}-keys` }, KEYS)),
    sheet.box,
  )
}
