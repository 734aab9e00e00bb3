use super::*;

#[test]
fn a_writers_name_tells_its_address_if_it_has_one() {
    let named = writer_name(WallTime(1_763_800_000_000), Some("http://10.0.0.7:9600"));
    assert_eq!(address_of(&named), Some("http://10.0.0.7:9600"));
    assert_eq!(address_of(&writer_name(WallTime(1_763_800_000_000), None)), None);
}
