use super::*;

#[test]
fn a_name_cannot_leave_its_literal() {
    assert_eq!(quoted("redis"), "'redis'");
    assert_eq!(quoted("x' OR '1'='1"), "'x'' OR ''1''=''1'");
}
