package money

import "strings"

// The currencies of ISO 4217 as amended to 2026-01-01 (BGN is left in: amounts in it are still settled), by the digits of their smallest unit. Codes for metals,
// bond units, tests and no currency are left out: no amount is in them.
const (
	none = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
	two  = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK " +
		"DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL " +
		"MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK " +
		"SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
	three = "BHD IQD JOD KWD LYD OMR TND"
	four  = "CLF UYW"
)

// digits are those of the smallest unit of each currency.
var digits = func() map[string]int {
	all := map[string]int{}
	for n, codes := range map[int]string{0: none, 2: two, 3: three, 4: four} {
		for code := range strings.FieldsSeq(codes) {
			all[code] = n
		}
	}
	return all
}()
