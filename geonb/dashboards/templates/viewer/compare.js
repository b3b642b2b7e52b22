// The second side: what the layer on top is swiped against, or what is subtracted from it.
const compareOf = (viewer, make) => {
  const { state } = viewer
  const box = h("div", { class: "other" })
  const setMode = (mode) => {
    state.compare = mode
    build()
    viewer.refresh()
  }
  const setLayer = (name) => {
    state.other = { layer: name, at: {} }
    build()
    viewer.refresh()
  }
  const build = () => {
    box.replaceChildren()
    if (state.compare === "off") return
    const options = othersOf(viewer)
    const names = options.map(([name]) => name)
    const usual = names.includes(state.top) ? state.top : names[0] ?? ""
    if (!names.includes(state.other.layer)) state.other = { layer: usual, at: {} }
    const dims = viewer.dimsOf(viewer.layer(state.other.layer)).filter((d) => viewer.labels(d).length > 1)
    startElsewhere(viewer, dims)
    const swipes = state.compare === "swipe"
    box.append(make.choice("other", swipes ? "right side" : "minus", options, state.other.layer, setLayer))
    box.append(...viewer.facts.dims.filter((d) => dims.includes(d.name)).map((d) => otherDim(viewer, make, d)))
    if (swipes) box.append(divider(viewer, make))
  }
  const modes = [["off", "no"], ["swipe", "swipe between two"], ["difference", "difference of two"]]
  return { build, fields: [make.choice("compare", "compare", modes, "off", setMode), box] }
}
const othersOf = ({ facts, state, layer }) => { // layers that can stand on the second side
  const [top, pictures] = [layer(state.top), picturesOf(facts)]
  const [images, others] = [true, false].map((is) => pictures.filter((l) => (l.kind === "image") === is))
  if (state.compare === "difference") return titled(others.filter((l) => l.kind === top?.kind && l.unit === top?.unit))
  return titled([...images, ...facts.layers.filter((l) => l.shown && l.kind === "error"), ...others])
}
const startElsewhere = ({ state }, dims) => { // a layer against itself shows nothing: take another model
  if (state.other.layer !== state.top || Object.keys(state.other.at).length || !dims.includes("model")) return
  state.other.at.model = state.at.model === 0 ? 1 : 0
}
const otherDim = (viewer, make, { name, title }) => {
  const { state } = viewer
  const set = (value) => {
    if (value === "") delete state.other.at[name]
    else state.other.at[name] = Number(value)
    viewer.refresh()
  }
  const options = [["", "as above"], ...numbered(viewer.labels(name))]
  return make.choice(`other-${name}`, `its ${title || name}`, options, state.other.at[name] ?? "", set)
}
const divider = ({ state, map }, { field, range }) => {
  const set = (share) => {
    state.swipe = share
    map.repaint()
  }
  return field("swipe", "divider", range({ min: 0, max: 1, step: 0.01, value: state.swipe }, set))
}
