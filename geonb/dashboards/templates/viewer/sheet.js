// Figures of the place, below the map: Python draws them anew for each choice; a page holds some, as first chosen.
const sheetOf = (viewer, { choice }) => {
  const { facts, state } = viewer
  const box = h("div", { class: "sheet" })
  if (!facts.sheet) return { box, show: () => {} }
  const { title, choices } = facts.sheet
  const chosen = Object.fromEntries(Object.entries(choices).map(([name, labels]) => [name, labels[0]]))
  const picture = h("div", { class: "drawn", "aria-live": "polite" })
  let turn = 0
  const show = viewer.working(async () => {
    const mine = ++turn
    const [{ words }, [file]] = await viewer.ask({ what: "sheet", place: state.place, chosen: { ...chosen } })
    if (mine !== turn) return
    const type = "image/webp"
    picture.replaceChildren(file?.byteLength ? h("img", { alt: words, src: URL.createObjectURL(new Blob([file], { type })) })
      : h("i", {}, `This page holds no figure of this ${facts.place_is}: ${ELSEWHERE}`))
  })
  const set = (name) => (label) => {
    chosen[name] = label
    return show()
  }
  const fields = Object.entries(choices).map(([name, labels]) =>
    choice(name.replaceAll(" ", "-"), name, labels.map((label) => [label, label]), chosen[name], set(name)))
  const fixed = Object.entries(chosen).map(([name, label]) => `${name}: ${label}`).join("; ")
  const controls = facts.whole ? h("div", { class: "pale" }, `${fixed}. For others, ${ELSEWHERE}`) : h("div", { class: "choices" }, fields)
  box.append(h("div", { class: "title" }, title), controls, picture)
  return { box, show }
}
const ELSEWHERE = "run notebook 06, or geonb app."
